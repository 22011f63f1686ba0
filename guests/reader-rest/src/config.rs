//! The `config` block: keys, defaults, and what they mean. Knows no server.

use std::collections::BTreeMap;

use dativo_connector::{Error, Result};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::template::Template;

/// Names that a template may hold, beside the fields of a parent.
pub const NAMES: [&str; 5] = ["since", "page", "offset", "cursor", "page_size"];

#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    #[serde(flatten)]
    pub endpoint: Endpoint,
    pub api_key: Option<String>,
    pub auth: Option<Auth>,
    #[serde(default = "ten")]
    pub rate_limit_rps: f64,
    #[serde(default = "one")]
    pub rate_burst: u32,
    pub schema: Option<Map<String, Value>>,
    #[serde(default = "thousand")]
    pub infer_records: u64,
    #[serde(default)]
    pub new_fields: NewFields,
    pub cursor_field: Option<String>,
    pub since_param: Option<String>,
    pub since: Option<Value>,
    pub resume: Option<bool>,
    pub incremental_state: Option<IncrementalState>,
    pub parent: Option<Parent>,
}

/// Where records come from: the same keys for the data and for its parents.
#[derive(Clone, Debug, Deserialize)]
pub struct Endpoint {
    pub api_url: String,
    #[serde(default)]
    pub method: Method,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub params: BTreeMap<String, Value>,
    pub body: Option<Value>,
    #[serde(default)]
    pub params_in: ParamsIn,
    #[serde(default)]
    pub format: Format,
    pub records: Option<String>,
    #[serde(default)]
    pub pagination_type: Pagination,
    #[serde(default = "thousand")]
    pub page_size: u64,
    pub page_size_param: Option<String>,
    #[serde(default = "page")]
    pub page_param: String,
    #[serde(default = "first")]
    pub first_page: u64,
    #[serde(default = "offset")]
    pub offset_param: String,
    #[serde(default = "cursor")]
    pub cursor_param: String,
    #[serde(default = "total_pages")]
    pub total_pages: String,
    #[serde(default = "total")]
    pub total: String,
    #[serde(default = "next_cursor")]
    pub next_cursor: String,
    #[serde(default = "next_url")]
    pub next_url: String,
    pub has_more: Option<String>,
}

/// Records that are asked for first; each is the parent of a conversation of its own.
#[derive(Clone, Debug, Deserialize)]
pub struct Parent {
    #[serde(flatten)]
    pub endpoint: Endpoint,
    /// Names and JSON Pointers into a parent.
    pub fields: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Method {
    #[default]
    #[serde(rename = "GET")]
    Get,
    #[serde(rename = "POST")]
    Post,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParamsIn {
    #[default]
    Query,
    Body,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    #[default]
    Json,
    Jsonl,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pagination {
    #[default]
    Page,
    Cursor,
    Offset,
    Link,
    NextUrl,
    None,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NewFields {
    #[default]
    Error,
    Ignore,
}

/// Where the first run starts, as the configs of before have it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct IncrementalState {
    pub last_cursor: Option<Value>,
    pub current_page: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Auth {
    Bearer {
        token: String,
    },
    Header {
        name: String,
        value: String,
    },
    Query {
        name: String,
        value: String,
    },
    Basic {
        user: String,
        password: String,
    },
    OAuth2 {
        token_url: String,
        client_id: String,
        client_secret: String,
        scope: Option<String>,
        #[serde(default)]
        parameters: BTreeMap<String, String>,
        #[serde(default)]
        credentials_in: CredentialsIn,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CredentialsIn {
    #[default]
    Header,
    Body,
}

fn ten() -> f64 {
    10.0
}

fn one() -> u32 {
    1
}

fn thousand() -> u64 {
    1000
}

fn first() -> u64 {
    1
}

fn page() -> String {
    "page".to_owned()
}

fn offset() -> String {
    "offset".to_owned()
}

fn cursor() -> String {
    "cursor".to_owned()
}

fn total_pages() -> String {
    "/total_pages".to_owned()
}

fn total() -> String {
    "/total".to_owned()
}

fn next_cursor() -> String {
    "/next_cursor".to_owned()
}

fn next_url() -> String {
    "/next".to_owned()
}

impl Config {
    /// Refuses what the schema cannot: keys that exclude or need each other, and templates.
    pub fn check(&self) -> Result<()> {
        if self.api_key.is_some() && self.auth.is_some() {
            return Err(
                Error::invalid_config("`api_key` and `auth` exclude each other")
                    .hint("`api_key` is short for `auth: { type: bearer, token: ... }`; keep one"),
            );
        }
        let fields: Vec<&str> = self
            .parent
            .iter()
            .flat_map(|parent| parent.fields.keys())
            .map(String::as_str)
            .collect();
        if let Some(field) = fields.iter().find(|field| NAMES.contains(*field)) {
            return Err(Error::invalid_config(format!(
                "`{field}` cannot be the name of a field of `parent`"
            ))
            .hint(format!(
                "`{{{field}}}` already stands for something; choose another name"
            )));
        }
        self.endpoint.check("", &fields)?;
        if let Some(parent) = &self.parent {
            parent.endpoint.check("parent.", &[])?;
            if parent.fields.is_empty() {
                return Err(Error::invalid_config("`parent.fields` names nothing").hint(
                    "name what a request for its children needs: `fields: { user_id: /id }`",
                ));
            }
        }
        let uses_since = self.since_param.is_some() || self.endpoint.uses("since", &fields)?;
        match (&self.cursor_field, uses_since) {
            (Some(_), false) => Err(Error::invalid_config(
                "`cursor_field` without a parameter that asks for what is new",
            )
            .hint("add `since_param: updated_since`, or `{since}` to `params`")),
            (None, true) => Err(Error::invalid_config(
                "`since` is asked for without a `cursor_field`",
            )
            .hint("add `cursor_field: updated_at`, the field that the next run goes on from")),
            (None, false) if self.since.is_some() => {
                Err(Error::invalid_config("`since` without a `cursor_field`")
                    .hint("add `cursor_field: updated_at` and `since_param: updated_since`"))
            }
            _ => Ok(()),
        }
    }

    /// Whether a run goes on where the last one stopped, by its position.
    pub fn resumes(&self) -> bool {
        let has_position = matches!(
            self.endpoint.pagination_type,
            Pagination::Page | Pagination::Cursor
        );
        let by_default = has_position && self.cursor_field.is_none() && self.parent.is_none();
        self.resume.unwrap_or(by_default)
    }

    fn check_resume(&self) -> Result<()> {
        let refuse = |why: &str| {
            Err(Error::invalid_config(format!("`resume: true` {why}"))
                .hint("leave it out; `cursor_field` and `since_param` read what changed"))
        };
        match self.resume {
            Some(true) if self.parent.is_some() => refuse("does not go with `parent`"),
            Some(true) if self.cursor_field.is_some() => refuse("does not go with `cursor_field`"),
            Some(true)
                if !matches!(
                    self.endpoint.pagination_type,
                    Pagination::Page | Pagination::Cursor
                ) =>
            {
                refuse("needs `pagination_type: page` or `cursor`")
            }
            _ => Ok(()),
        }
    }

    /// The place of the cursor in a record, as a JSON Pointer.
    pub fn cursor_pointer(&self) -> Option<String> {
        self.cursor_field.as_deref().map(pointer)
    }

    /// Everything that can be said before the first request.
    pub fn checked(self) -> Result<Self> {
        self.check()?;
        self.check_resume()?;
        Ok(self)
    }
}

/// A name of a field, or a JSON Pointer as it is.
pub fn pointer(field: &str) -> String {
    match field.starts_with('/') {
        true => field.to_owned(),
        false => format!("/{}", field.replace('~', "~0").replace('/', "~1")),
    }
}

impl Endpoint {
    fn check(&self, place: &str, fields: &[&str]) -> Result<()> {
        let template = |key: &str, text: &str| {
            Template::parse(text, &known(fields)).map_err(|error| Error {
                message: format!("`{place}{key}`: {}", error.message),
                ..error
            })
        };
        template("api_url", &self.api_url)?;
        for (name, value) in &self.headers {
            template(&format!("headers.{name}"), value)?;
        }
        for (name, value) in &self.params {
            match value {
                Value::String(text) => template(&format!("params.{name}"), text).map(drop)?,
                Value::Number(_) | Value::Bool(_) => {}
                _ => {
                    return Err(Error::invalid_config(format!(
                        "`{place}params.{name}` is neither text, number nor boolean"
                    )));
                }
            }
        }
        if let Some(body) = &self.body {
            Template::check_json(body, &known(fields)).map_err(|error| Error {
                message: format!("`{place}body`: {}", error.message),
                ..error
            })?;
        }
        match self.method {
            Method::Get if self.body.is_some() || self.params_in == ParamsIn::Body => {
                Err(Error::invalid_config(format!(
                    "`{place}body` and `{place}params_in: body` need `{place}method: POST`"
                )))
            }
            Method::Post
                if self.params_in == ParamsIn::Body
                    && self.body.as_ref().is_some_and(|body| !body.is_object()) =>
            {
                Err(Error::invalid_config(format!(
                    "`{place}params_in: body` needs a `{place}body` that is an object"
                )))
            }
            _ => Ok(()),
        }
    }

    /// Whether a template holds `{name}`.
    fn uses(&self, name: &str, fields: &[&str]) -> Result<bool> {
        let known = known(fields);
        let params = self.params.values().filter_map(Value::as_str);
        for text in params
            .chain(self.headers.values().map(String::as_str))
            .chain([self.api_url.as_str()])
        {
            if Template::parse(text, &known)?.uses(name) {
                return Ok(true);
            }
        }
        Ok(self
            .body
            .as_ref()
            .is_some_and(|body| Template::json_uses(body, name)))
    }

    /// The parameter for the size of a page; none where it is not sent.
    pub fn size_param(&self) -> Option<&str> {
        let by_default = match self.pagination_type {
            Pagination::Page | Pagination::Cursor => "page_size",
            Pagination::Offset => "limit",
            Pagination::Link | Pagination::NextUrl | Pagination::None => "",
        };
        let name = self.page_size_param.as_deref().unwrap_or(by_default);
        (!name.is_empty()).then_some(name)
    }
}

fn known<'a>(fields: &[&'a str]) -> Vec<&'a str> {
    NAMES.iter().chain(fields).copied().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::schema;

    fn config(text: &str) -> Result<Config> {
        let mut value: Value = serde_json::from_str(text).unwrap();
        value["api_url"] = value
            .get("api_url")
            .cloned()
            .unwrap_or(json!("http://h/v1"));
        serde_json::from_value::<Config>(value).unwrap().checked()
    }

    #[test]
    fn refuses_keys_that_do_not_go_together() {
        for (text, part) in [
            (
                r#"{"api_key":"k","auth":{"type":"bearer","token":"t"}}"#,
                "exclude each other",
            ),
            (
                r#"{"params":{"a":"{b}"}}"#,
                "`params.a`: `{b}` stands for nothing",
            ),
            (r#"{"api_url":"http://h/{id}"}"#, "`api_url`: `{id}`"),
            (r#"{"method":"POST","body":{"a":["{b}"]}}"#, "`body`: `{b}`"),
            (r#"{"body":{}}"#, "need `method: POST`"),
            (r#"{"params_in":"body"}"#, "need `method: POST`"),
            (
                r#"{"method":"POST","params_in":"body","body":[]}"#,
                "that is an object",
            ),
            (r#"{"cursor_field":"at"}"#, "without a parameter"),
            (r#"{"since_param":"at"}"#, "without a `cursor_field`"),
            (r#"{"since":"2025"}"#, "`since` without a `cursor_field`"),
            (
                r#"{"resume":true,"pagination_type":"link"}"#,
                "`pagination_type: page` or",
            ),
            (
                r#"{"resume":true,"cursor_field":"a","since_param":"s"}"#,
                "does not go with `cursor_field`",
            ),
            (
                r#"{"parent":{"api_url":"http://h","fields":{"page":"/id"}}}"#,
                "`page` cannot be the name",
            ),
            (
                r#"{"parent":{"api_url":"http://h/{x}","fields":{"x":"/id"}}}"#,
                "`parent.api_url`: `{x}`",
            ),
        ] {
            let error = config(text).unwrap_err();
            assert!(error.message.contains(part), "{text}: {}", error.message);
        }
    }

    #[test]
    fn a_run_resumes_by_pages_and_cursors_only() {
        for (text, expected) in [
            ("{}", true),
            (r#"{"pagination_type":"cursor"}"#, true),
            (r#"{"pagination_type":"offset"}"#, false),
            (r#"{"resume":false}"#, false),
            (r#"{"cursor_field":"a","since_param":"s"}"#, false),
            (
                r#"{"parent":{"api_url":"http://h","fields":{"x":"/id"}}}"#,
                false,
            ),
        ] {
            assert_eq!(config(text).unwrap().resumes(), expected, "{text}");
        }
    }

    #[test]
    fn the_keys_of_before_work_unchanged() {
        let text = r#"{"api_key":"k","pagination_type":"cursor","page_size":50,"rate_limit_rps":2.5,
            "incremental_state":{"last_cursor":"abc","current_page":3}}"#;
        let config = config(text).unwrap();
        assert_eq!(
            (config.endpoint.page_size, config.rate_limit_rps),
            (50, 2.5)
        );
        assert_eq!(config.incremental_state.unwrap().current_page, Some(3));
        assert_eq!(config.endpoint.size_param(), Some("page_size"));
    }

    #[test]
    fn the_schema_and_the_types_have_the_same_defaults() {
        let schema: Value = serde_json::from_str(&schema()).unwrap();
        let given = |properties: &Value| -> Map<String, Value> {
            let properties = properties.as_object().unwrap().iter();
            properties
                .filter_map(|(key, property)| Some((key.clone(), property.get("default")?.clone())))
                .collect()
        };
        let mut explicit = Value::from(given(&schema["properties"]));
        explicit["api_url"] = json!("http://h");
        let explicit: Config = serde_json::from_value(explicit).unwrap();
        let implicit: Config = serde_json::from_value(json!({ "api_url": "http://h" })).unwrap();
        assert_eq!(format!("{explicit:?}"), format!("{implicit:?}"));
    }
}
