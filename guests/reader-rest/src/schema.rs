//! The JSON Schema of the `config` block, whose descriptions users read. The types are in `config.rs`.

use serde_json::{Map, Value, json};

/// JSON Schema of the `config` block.
pub fn schema() -> String {
    let mut properties = endpoint_schema();
    let own = json!({
        "api_key": { "type": "string", "minLength": 1,
            "description": "A token that is sent as `Authorization: Bearer`: `${SECRET:API_KEY}`. Short for `auth` of type \
                `bearer`." },
        "auth": auth_schema(),
        "rate_limit_rps": { "type": "number", "exclusiveMinimum": 0, "maximum": 1_000_000, "default": 10,
            "description": "Requests a second at most, over all jobs of the tenant that ask the same server; the lowest of \
                them holds." },
        "rate_burst": { "type": "integer", "minimum": 1, "default": 1,
            "description": "Requests that may follow each other at once after a pause." },
        "schema": { "type": "object", "minProperties": 1,
            "description": "The columns: names and types, `{id: int64, tags: [string], address: {city: string}}`. Types: \
                bool, int32, int64, float64, number (a Float64 that is never rounded), decimal(p,s), date, timestamp, \
                timestamptz, string, json; `[type]` is a list, an object a struct. Without it they are inferred." },
        "infer_records": { "type": "integer", "minimum": 1, "default": 1000,
            "description": "How many records are looked at to infer the columns, from at most 10 pages." },
        "new_fields": { "enum": ["error", "ignore"], "default": "error",
            "description": "What happens where a record has a field that is no column." },
        "cursor_field": { "type": "string", "minLength": 1,
            "description": "Read what changed since the last run: the field whose greatest value the next run starts from. \
                A name, or a JSON Pointer into the record." },
        "since_param": { "type": "string", "minLength": 1,
            "description": "The query parameter that takes that value: `updated_since`. `{since}` in `params`, `headers` or \
                `body` does the same." },
        "since": { "type": ["string", "number"],
            "description": "Its value in the first run; without it the parameter is left out then." },
        "resume": { "type": "boolean",
            "description": "Whether a run goes on at the last page or cursor of the run before, and leaves out the records \
                that it had. By default so for `page` and `cursor`, unless there is a `cursor_field` or a `parent`." },
        "incremental_state": { "type": "object", "additionalProperties": false,
            "properties": {
                "last_cursor": { "type": ["string", "number", "null"] },
                "current_page": { "type": "integer", "minimum": 0 },
            },
            "description": "Where the first run starts. What a run committed goes before it." },
        "parent": parent_schema(),
    });
    properties.extend(own.as_object().cloned().unwrap_or_default());
    json!({
        "type": "object",
        "required": ["api_url"],
        "additionalProperties": false,
        "properties": properties,
        "x-dativo-grants": [
            { "capability": "http", "access": "{method}", "target": "{api_url}" },
            { "capability": "http", "access": "{parent.method}", "target": "{parent.api_url}" },
            { "capability": "http", "access": "POST", "target": "{auth.token_url}" },
        ],
    })
    .to_string()
}

fn endpoint_schema() -> Map<String, Value> {
    let text_map =
        json!({ "type": "object", "additionalProperties": { "type": "string" }, "default": {} });
    let pointer = |default: &str, description: &str| json!({ "type": "string", "pattern": "^(/.*)?$", "default": default, "description": description });
    let mut headers = text_map;
    headers["description"] = json!("Headers of each request, with templates.");
    let schema = json!({
        "api_url": { "type": "string", "pattern": "^https?://", "minLength": 1,
            "description": "The address of the records. It is also the grant: the method, host, port and path that may be \
                asked. `{name}` in the path is a field of a `parent`." },
        "method": { "enum": ["GET", "POST"], "default": "GET",
            "description": "`POST` for APIs that are searched so; such a request is sent again like any other that only \
                reads." },
        "headers": headers,
        "params": { "type": "object", "default": {},
            "additionalProperties": { "type": ["string", "number", "boolean"] },
            "description": "Query parameters. In texts `{since}`, `{page}`, `{offset}`, `{cursor}`, `{page_size}` and the \
                fields of a `parent` are filled in; one without a value leaves its parameter out. `{{` is a brace." },
        "body": { "type": ["object", "array"],
            "description": "The JSON of a `POST`, with the same templates in its texts. A text that is one template becomes \
                a number where its value is one." },
        "params_in": { "enum": ["query", "body"], "default": "query",
            "description": "Where the parameters of the pagination go." },
        "format": { "enum": ["json", "jsonl"], "default": "json",
            "description": "One JSON document, or one record a line." },
        "records": { "type": "string", "pattern": "^(/.*)?$",
            "description": "JSON Pointer to the array of records. By default the body itself where it is an array, and \
                `/items` otherwise." },
        "pagination_type": { "enum": ["page", "cursor", "offset", "link", "next_url", "none"], "default": "page",
            "description": "How the next page is asked for: by its number, by a cursor of the answer, by the number of \
                records before it, by a `Link` header (RFC 8288), by a URL in the answer, or not at all." },
        "page_size": { "type": "integer", "minimum": 1, "default": 1000,
            "description": "Records in a page, as it is asked for." },
        "page_size_param": { "type": "string",
            "description": "The parameter for it: `page_size` of `page` and `cursor`, `limit` of `offset`, none of the others. \
                Empty: it is not sent." },
        "page_param": { "type": "string", "minLength": 1, "default": "page", "description": "The parameter for the page." },
        "first_page": { "type": "integer", "minimum": 0, "default": 1, "description": "The number of the first page." },
        "offset_param": { "type": "string", "minLength": 1, "default": "offset", "description": "The parameter for the offset." },
        "cursor_param": { "type": "string", "minLength": 1, "default": "cursor", "description": "The parameter for the cursor." },
        "total_pages": pointer("/total_pages", "Where the answer says how many pages there are. A run by pages ends there, or \
            at an empty page where it does not."),
        "total": pointer("/total", "Where the answer says how many records there are. A run by offsets ends there, or at an \
            empty page."),
        "next_cursor": pointer("/next_cursor", "Where the answer has the next cursor. A run ends where it is missing, null or \
            empty."),
        "next_url": pointer("/next", "Where the answer has the URL of the next page. A run ends where it is missing, null or \
            empty."),
        "has_more": { "type": "string", "pattern": "^(/.*)?$",
            "description": "Where the answer says whether there is more, as a boolean. A run ends where it is false." },
    });
    schema.as_object().cloned().unwrap_or_default()
}

fn auth_schema() -> Value {
    let text = json!({ "type": "string", "minLength": 1 });
    let kind = |kind: &str, required: &[&str], mut properties: Value| {
        properties["type"] = json!({ "const": kind });
        let required: Vec<&str> = required.iter().copied().chain(["type"]).collect();
        json!({ "type": "object", "required": required, "additionalProperties": false, "properties": properties })
    };
    json!({
        "description": "How requests prove who asks: `{type: bearer, token}`, `{type: header, name, value}`, `{type: query, name, \
            value}`, `{type: basic, user, password}` or `{type: oauth2, token_url, client_id, client_secret, scope, parameters, \
            credentials_in: header|body}`, the client credentials of OAuth 2.0. The host adds it; the connector never sees it.",
        "oneOf": [
            kind("bearer", &["token"], json!({ "token": text })),
            kind("header", &["name", "value"], json!({ "name": text, "value": text })),
            kind("query", &["name", "value"], json!({ "name": text, "value": text })),
            kind("basic", &["user", "password"], json!({ "user": { "type": "string" }, "password": { "type": "string" } })),
            kind("oauth2", &["token_url", "client_id", "client_secret"], json!({
                "token_url": { "type": "string", "pattern": "^https?://" },
                "client_id": text,
                "client_secret": text,
                "scope": text,
                "parameters": { "type": "object", "additionalProperties": { "type": "string" } },
                "credentials_in": { "enum": ["header", "body"] },
            })),
        ],
    })
}

fn parent_schema() -> Value {
    let mut properties = endpoint_schema();
    properties.insert(
        "fields".to_owned(),
        json!({ "type": "object", "minProperties": 1,
            "additionalProperties": { "type": "string", "minLength": 1 },
            "description": "What is taken from each parent: names, and fields or JSON Pointers into it. `{user_id: /id}` \
                fills `{user_id}` in the address, parameters, headers and body of its children, and is a column of them." }),
    );
    json!({
        "type": "object", "required": ["api_url", "fields"], "additionalProperties": false, "properties": properties,
        "description": "Ask for these records first, and for the children of each: `{api_url: https://api.example/users, fields: \
            {user_id: /id}}`. It takes the same keys for requests and pagination.",
    })
}
