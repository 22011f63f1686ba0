//! Runs that go on where the last one stopped: each record once, whatever came in between.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::{Case, message};
use crate::support::http::{Scripted, Servers, send};

/// An API over records that a test may add to, by pages and by cursors, as the configs of before ask for them.
fn api(records: &Arc<Mutex<Vec<Value>>>) -> Scripted {
    let records = Arc::clone(records);
    Scripted::json(move |request| {
        let records = records.lock().unwrap();
        let size = request.number("page_size") as usize;
        let start = match request.path.as_str() {
            "/page" => (request.number("page") as usize - 1) * size,
            _ => request.number("cursor") as usize,
        };
        let end = (start + size).min(records.len());
        let items = records.get(start..end).unwrap_or_default();
        let next = (end < records.len()).then(|| end.to_string());
        match request.path.as_str() {
            "/page" => json!({ "items": items, "total_pages": records.len().div_ceil(size) }),
            _ => json!({ "items": items, "next_cursor": next }),
        }
    })
}

fn records(numbers: std::ops::Range<u64>) -> Vec<Value> {
    numbers.map(|id| json!({ "id": id })).collect()
}

#[test]
fn the_configs_of_before_work_and_read_each_record_once() {
    for config in [
        "pagination_type: page",
        "pagination_type: cursor",
        "page_size: 10",
    ] {
        let path = if config.contains("cursor") {
            "/cursor"
        } else {
            "/page"
        };
        let shared = Arc::new(Mutex::new(records(0..25)));
        let server = api(&shared);
        let size = if config.contains("page_size") {
            ""
        } else {
            ", page_size: 10"
        };
        let case = Case::new(&format!(
            "api_url: \"{}\", api_key: \"${{SECRET:KEY}}\", {config}{size}",
            server.url(path)
        ));
        case.secret("KEY", "sk_live_1234567");
        assert_eq!(case.read(), 25, "{config}");
        assert_eq!(case.read(), 0, "{config}");
        // Some come to the last page, and more pages.
        shared.lock().unwrap().extend(records(25..28));
        assert_eq!(case.read(), 3, "{config}");
        shared.lock().unwrap().extend(records(28..57));
        assert_eq!(case.read(), 29, "{config}");
        assert_eq!(case.read(), 0, "{config}");
        let row = case.query("select count(*), count(distinct id), max(id) from rows");
        assert_eq!(json!(row), json!([["57", "57", "56"]]), "{config}");
        let state = case.state();
        match path {
            "/page" => assert_eq!(state["current_page"], 6, "{state}"),
            _ => assert_eq!(state["last_cursor"], "50", "{state}"),
        }
    }
}

#[test]
fn a_first_run_starts_where_the_config_says() {
    let shared = Arc::new(Mutex::new(records(0..25)));
    let server = api(&shared);
    for (path, config, rows) in [
        ("/page", "incremental_state: { current_page: 3 }", 5),
        (
            "/cursor",
            "pagination_type: cursor, incremental_state: { last_cursor: \"10\" }",
            15,
        ),
        (
            "/cursor",
            "pagination_type: cursor, incremental_state: { last_cursor: null }",
            25,
        ),
    ] {
        let case = Case::new(&format!(
            "api_url: \"{}\", page_size: 10, {config}",
            server.url(path)
        ));
        assert_eq!(case.read(), rows, "{config}");
        assert_eq!(case.read(), 0, "{config}");
    }
    let case = Case::new(&format!(
        "api_url: \"{}\", page_size: 10, resume: false",
        server.url("/page")
    ));
    assert_eq!((case.read(), case.read()), (25, 25));
}

#[test]
fn another_page_size_would_be_other_pages() {
    let shared = Arc::new(Mutex::new(records(0..25)));
    let server = api(&shared);
    let config = |size| format!("api_url: \"{}\", page_size: {size}", server.url("/page"));
    let case = Case::new(&config(10));
    assert_eq!(case.read(), 25);
    case.write(&config(20), "");
    let error = case.fail("job_invalid");
    assert!(
        message(&error).contains("`page_size` was changed"),
        "{error}"
    );
    case.write(&config(10), "");
    assert_eq!(case.read(), 0);
}

#[test]
fn the_columns_of_the_first_run_stay() {
    let shared = Arc::new(Mutex::new(records(0..5)));
    let server = api(&shared);
    let case = Case::new(&format!(
        "api_url: \"{}\", page_size: 10",
        server.url("/page")
    ));
    assert_eq!(case.read(), 5);
    shared.lock().unwrap().push(json!({ "id": 0.5 }));
    let error = case.fail("contract_broken");
    assert!(message(&error).contains("`0.5` is not an int64"), "{error}");
    assert!(
        error["hint"].as_str().unwrap().contains("state reset"),
        "{error}"
    );
    shared.lock().unwrap().pop();
    shared.lock().unwrap().push(json!({ "id": 5 }));
    assert_eq!(case.read(), 1);
}

#[test]
fn datasette_by_the_time_of_change() {
    let servers = Servers::start();
    let case = Case::new(&format!(
        "api_url: \"{}\", params: {{ _shape: objects, _sort: updated_at }}, records: /rows, page_size: 30, page_size_param: _size, \
         pagination_type: cursor, next_cursor: /next, cursor_param: _next, cursor_field: updated_at, since_param: updated_at__gte",
        servers.url("datasette", "/data/posts.json")
    ));
    assert_eq!(case.read(), 201);
    assert_eq!(case.read(), 0);
    let greatest = case.state()["since"].as_str().unwrap().to_owned();
    // One with the greatest time that was read, one behind it, and one that was changed.
    servers.sql(&format!(
        "insert into posts values (300, 1, 'same time', null, 1, '{greatest}');
         insert into posts values (301, 1, 'later', null, 1, '2025-02-01T00:00:00Z');
         update posts set title = 'changed', updated_at = '2025-02-01T00:00:00Z' where id = 5;"
    ));
    assert_eq!(case.read(), 3);
    assert_eq!(case.read(), 0);
    servers
        .sql("insert into posts values (302, 1, 'same again', null, 1, '2025-02-01T00:00:00Z');");
    assert_eq!(case.read(), 1);
    let row =
        case.query("select count(*), count(distinct (id, title)), count(distinct id) from rows");
    assert_eq!(json!(row), json!([["205", "205", "204"]]));
}

#[test]
fn a_search_is_asked_in_the_body() {
    let server = Scripted::json(|request| {
        let body: Value =
            serde_json::from_str(request.text.split_once("\r\n\r\n").unwrap().1).unwrap();
        let since = body["filter"]["since"].as_i64().unwrap_or(0);
        let page = body["page"].as_i64().unwrap();
        let items: Vec<Value> = (1..=7)
            .filter(|at| *at >= since)
            .map(|at| json!({ "at": at }))
            .collect();
        let items: Vec<_> = items
            .chunks(3)
            .nth(page as usize - 1)
            .unwrap_or_default()
            .to_vec();
        assert!(
            request.text.starts_with("POST /search HTTP/1.1"),
            "{request:?}"
        );
        json!({ "items": items })
    });
    let case = Case::new(&format!(
        "api_url: \"{}\", method: POST, params_in: body, body: {{ filter: {{ since: \"{{since}}\", kind: all }} }}, \
         cursor_field: at, new_fields: ignore",
        server.url("/search")
    ));
    assert_eq!(case.read(), 7);
    assert_eq!(case.read(), 0);
    assert_eq!(case.state()["since"], 7);
}

#[test]
fn a_number_to_go_on_from_is_the_one_that_was_read() {
    // Numbers that a hasty decimal conversion makes greater by their last digit, so that a record would be missed.
    for at in [
        "0.12082576510837795",
        "0.010000000000000002",
        "1735689600.123457",
        "12345678901234567890123",
        "0.12345678901234567890123",
    ] {
        let shared = Arc::new(Mutex::new(vec![(1, at)]));
        let records = Arc::clone(&shared);
        let server = Scripted::start(move |request, stream| {
            let since: f64 = request.param("since").unwrap_or("0").parse().unwrap();
            let records = records.lock().unwrap();
            let found: Vec<String> = records
                .iter()
                .filter(|(_, at)| at.parse::<f64>().unwrap() >= since)
                .map(|(id, at)| format!(r#"{{"id":{id},"at":{at}}}"#))
                .collect();
            send(stream, "200 OK", "", &format!("[{}]", found.join(",")));
        });
        let case = Case::new(&format!(
            "api_url: \"{}\", pagination_type: none, cursor_field: at, since_param: since",
            server.url("/")
        ));
        assert_eq!(case.read(), 1, "{at}");
        shared.lock().unwrap().push((2, at));
        assert_eq!(case.read(), 1, "{at}: {}", case.state());
        assert_eq!(case.read(), 0, "{at}: {}", case.state());
        let asked = server.received().pop().unwrap();
        assert_eq!(asked.param("since"), Some(at));
    }
}
