//! Every kind of pagination on servers that nobody here wrote, against the records that they were given.

use std::io::Write as _;

use serde_json::{Value, json};

use super::{Case, message};
use crate::support::http::{Scripted, servers};

const POSTS: &str = "201";

/// Count, sum and texts of the posts that were read, whatever served them.
fn check_posts(case: &Case) {
    let row = &case.query(
        "select count(*), count(distinct id), sum(id::int), sum(score), count(*) filter (body is null), min(title) from rows",
    )[0];
    let row: Vec<&str> = row.iter().map(|cell| cell.as_deref().unwrap()).collect();
    assert_eq!(row, [POSTS, POSTS, "20301", "5075.25", "28", "title 1 é😀"]);
    assert_eq!(
        case.cell("select body from rows where id::int = 3"),
        "line \"one\"\nline 3"
    );
}

#[test]
fn datasette_by_cursor_next_url_and_link() {
    let url = servers().url("datasette", "/data/posts.json");
    let more = "params: { _shape: objects, _sort: updated_at }, records: /rows, page_size: 40, page_size_param: _size";
    for pagination in [
        "pagination_type: cursor, next_cursor: /next, cursor_param: _next",
        "pagination_type: next_url, next_url: /next_url",
        "pagination_type: link",
    ] {
        let case = Case::new(&format!("api_url: \"{url}\", {pagination}, {more}"));
        let report = case.succeed();
        assert_eq!(report["http"]["requests"], 12, "{report}");
        check_posts(&case);
    }
}

#[test]
fn json_server_by_link_page_and_offset() {
    let url = servers().url("json_server", "/posts");
    for pagination in [
        "pagination_type: link, params: { _page: 1 }, page_size_param: _limit",
        "page_param: _page, page_size_param: _limit",
        "pagination_type: offset, offset_param: _start, page_size_param: _limit",
    ] {
        let case = Case::new(&format!("api_url: \"{url}\", {pagination}, page_size: 50"));
        case.succeed();
        check_posts(&case);
        let meta = case.query("select meta.rank, len(meta.tags) from rows order by id limit 1");
        assert_eq!(json!(meta), json!([["1", "1"]]));
    }
}

#[test]
fn a_server_that_repeats_its_last_page_ends_at_its_marker_or_is_reported() {
    let url = servers().url("json_server_1", "/posts");
    let config = format!(
        "api_url: \"{url}\", page_param: _page, page_size_param: _per_page, page_size: 50, records: /data"
    );
    let case = Case::new(&format!("{config}, total_pages: /pages"));
    case.succeed();
    check_posts(&case);
    assert_eq!(case.read(), 0);

    let case = Case::new(&format!("{config}, total_pages: /nowhere"));
    let error = case.fail("rejected");
    assert!(
        message(&error).contains("page 6 is the same as one before it"),
        "{error}"
    );
    assert!(
        error["hint"].as_str().unwrap().contains("`total_pages`"),
        "{error}"
    );
}

#[test]
fn a_run_that_goes_on_behind_the_end_reads_nothing() {
    let url = servers().url("json_server_1", "/posts");
    let case = Case::new(&format!(
        "api_url: \"{url}\", page_param: _page, page_size_param: _per_page, page_size: 50, records: /data, total_pages: /pages, \
         incremental_state: {{ current_page: 9 }}, schema: {{ id: string }}, new_fields: ignore"
    ));
    assert_eq!(case.read(), 0);
}

#[test]
fn the_children_of_each_parent_come_with_its_fields() {
    let (users, posts) = (
        servers().url("datasette", "/data/users.json"),
        servers().url("datasette", "/data/posts.json"),
    );
    let parent = format!(
        "parent: {{ api_url: \"{users}\", params: {{ _shape: objects }}, records: /rows, pagination_type: none, \
         fields: {{ user: id, who: /name }} }}"
    );
    let child = "params: { _shape: objects, user_id: \"{user}\" }, records: /rows, page_size: 25, page_size_param: _size, \
                 pagination_type: next_url, next_url: /next_url";
    let case = Case::new(&format!("api_url: \"{posts}\", {child}, {parent}"));
    assert_eq!(case.read(), 201);
    check_posts(&case);
    let wrong = case.cell(
        "select count(*) from rows where user_id <> \"user\"::int or who <> 'user ' || user_id",
    );
    assert_eq!(wrong, "0");
    // A run of a parent reads everything.
    assert_eq!(case.read(), 201);

    let case = Case::new(&format!(
        "api_url: \"{posts}\", {child}, {}",
        parent.replace("user: id", "user: id, title: name")
    ));
    let error = case.fail("job_invalid");
    assert!(message(&error).contains("two columns `title`"), "{error}");
}

#[test]
fn the_path_of_a_child_is_granted_for_its_fields_and_nothing_else() {
    let server = Scripted::json(|request| match request.path.as_str() {
        "/users" => json!([{ "id": "a/b" }, { "id": "../x" }]),
        path => json!([{ "path": path }]),
    });
    let case = Case::new(&format!(
        "api_url: \"{}\", pagination_type: none, parent: {{ api_url: \"{}\", pagination_type: none, fields: {{ id: id }} }}",
        server.url("/users/{id}/posts"),
        server.url("/users")
    ));
    let error = case.fail("denied");
    assert!(message(&error).contains("more than one way"), "{error}");
    let paths: Vec<String> = server
        .received()
        .into_iter()
        .map(|request| request.path)
        .collect();
    assert!(
        paths
            .iter()
            .all(|path| path == "/users" || path == "/users/a%2Fb/posts"),
        "{paths:?}"
    );
}

#[test]
fn a_real_rate_limit_is_kept_to_and_shown() {
    let url = servers().url("nginx", "/data/posts.json");
    let case = Case::new(&format!(
        "api_url: \"{url}\", params: {{ _shape: objects }}, records: /rows, page_size: 20, page_size_param: _size, \
         pagination_type: cursor, next_cursor: /next, cursor_param: _next"
    ));
    let report = case.succeed();
    check_posts(&case);
    let http = &report["http"];
    assert!(
        http["retries"].as_u64().unwrap() > 0 && http["waited_ms"].as_u64().unwrap() >= 1000,
        "{http}"
    );
    // Who keeps to the rate is not refused.
    let case = Case::new(&format!(
        "api_url: \"{url}\", params: {{ _shape: objects }}, records: /rows, page_size: 100, page_size_param: _size, \
         pagination_type: cursor, next_cursor: /next, cursor_param: _next, rate_limit_rps: 4, rate_burst: 1, \
         schema: {{ id: int64 }}, new_fields: ignore"
    ));
    let report = case.succeed();
    assert_eq!(
        (
            report["rows_read"].clone(),
            report["http"]["requests"].clone()
        ),
        (json!(201), json!(3)),
        "{report}"
    );
}

#[test]
fn bodies_come_in_every_encoding_and_as_lines() {
    for path in ["/gzip", "/deflate", "/brotli"] {
        let url = servers().url("httpbin", path);
        let error = Case::new(&format!("api_url: \"{url}\", pagination_type: none"))
            .fail("contract_broken");
        // It is no list of records, and says so in clear text.
        assert!(
            message(&error).contains("there are no records at `/items`; the body has"),
            "{path}: {error}"
        );
    }
    let zstd = Scripted::start(|_, stream| {
        let body = zstd::encode_all(&br#"[{"id":1},{"id":2}]"#[..], 3).unwrap();
        let length = body.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-encoding: zstd\r\ncontent-length: {length}\r\n\r\n"
        );
        let _ = stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(&body));
    });
    let case = Case::new(&format!(
        "api_url: \"{}\", pagination_type: none",
        zstd.url("/")
    ));
    assert_eq!(case.read(), 2);
    let url = servers().url("httpbin", "/stream/20");
    let case = Case::new(&format!(
        "api_url: \"{url}\", pagination_type: none, format: jsonl"
    ));
    assert_eq!(case.read(), 20);
    assert_eq!(case.cell("select sum(id) from rows"), "190");
}

#[test]
fn looking_asks_for_one_page() {
    let server = Scripted::json(|request| {
        let page = request.number("page");
        json!({ "items": [{ "id": page, "updated_at": "2025-01-01T00:00:00Z" }], "total": 5, "total_pages": 5 })
    });
    let case = Case::new(&format!("api_url: \"{}\"", server.url("/items")));
    let asked = |verb: &str| {
        let before = server.received().len();
        let output = case.verb(verb);
        assert_eq!(output.code, 0, "{verb}: {output:?}");
        (server.received().len() - before, output)
    };
    assert_eq!(asked("check").0, 1);
    let (requests, output) = asked("discover");
    assert_eq!(requests, 1);
    let found = &output.json()["datasets"][0];
    let columns: Vec<Value> = found["columns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| column["source_type"].clone())
        .collect();
    assert_eq!(columns, ["int64", "string"], "{found}");
    assert_eq!(
        (&found["rows"], &found["cursors"]),
        (&json!(5), &json!(["updated_at"])),
        "{found}"
    );
    let (_, output) = asked("preview");
    assert!(output.stdout.contains("2025-01-01T00:00:00Z"), "{output:?}");
    let plan = asked("plan").1.json();
    assert_eq!(
        plan["reader"]["plan"]["granted"][0]["target"],
        format!("GET {}", server.url("/items")),
        "{plan}"
    );
}
