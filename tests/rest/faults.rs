//! Servers that fail: the right rows or the right error, and nothing committed with an error.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Case, message};
use crate::support::http::{Received, Scripted, send};

const PAGES: u64 = 12;

/// Two records of a page.
fn page(number: u64) -> Value {
    json!({ "items": [{ "id": number * 2, "n": number }, { "id": number * 2 + 1, "n": number }], "total_pages": PAGES })
}

/// Pages, but for what `fault` answers itself; it gets the page and how often a page was asked for before.
fn server(fault: impl Fn(u64, usize, &mut TcpStream) -> bool + Send + Sync + 'static) -> Scripted {
    let asked: Vec<AtomicUsize> = (0..=PAGES).map(|_| AtomicUsize::new(0)).collect();
    Scripted::start(move |request: &Received, stream| {
        let number = request.number("page");
        let before = asked[number as usize].fetch_add(1, Ordering::Relaxed);
        if !fault(number, before, stream) {
            send(stream, "200 OK", "", &page(number).to_string());
        }
    })
}

fn case(server: &Scripted, http: &str) -> Case {
    Case::with(
        &format!("api_url: \"{}\", infer_records: 4", server.url("/items")),
        &format!("http: {{ {http} }}"),
    )
}

/// All rows arrived, after some retries.
fn check_whole(case: &Case, least_retries: u64) {
    let report = case.succeed();
    assert!(
        report["http"]["retries"].as_u64().unwrap() >= least_retries,
        "{report}"
    );
    let row = case.query("select count(*), count(distinct id), sum(n) from rows");
    assert_eq!(json!(row), json!([["24", "24", "156"]]));
}

#[test]
fn what_is_lost_on_the_way_is_asked_for_again() {
    let slow = server(|number, before, stream| {
        let is_slow = number == 7 && before == 0;
        if is_slow {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
            std::thread::sleep(Duration::from_secs(2));
        }
        is_slow
    });
    check_whole(&case(&slow, "read_timeout: 500ms"), 1);
    let cut = server(|number, before, stream| {
        let is_cut = number == 7 && before < 2;
        if is_cut {
            let whole = page(number).to_string();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", whole.len());
            let _ = stream
                .write_all(head.as_bytes())
                .and_then(|()| stream.write_all(&whole.as_bytes()[..20]));
        }
        is_cut
    });
    check_whole(&case(&cut, ""), 2);
    let long = server(|number, before, stream| {
        let is_wrong = number == 7 && before == 0;
        if is_wrong {
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n{}",
                page(number)
            );
        }
        is_wrong
    });
    check_whole(&case(&long, ""), 1);
    let failing = server(|number, before, stream| {
        let fails = number % 5 == 0 && before == 0;
        if fails {
            send(stream, "500 Internal Server Error", "", "{}");
        }
        fails
    });
    check_whole(&case(&failing, ""), 2);
    let storm = server(|number, before, stream| {
        let is_storm = number == 3 && before < 3;
        if is_storm {
            send(stream, "429 Too Many Requests", "retry-after: 1\r\n", "{}");
        }
        is_storm
    });
    check_whole(&case(&storm, ""), 3);
}

#[test]
fn a_short_length_is_invalid_and_no_shorter_table() {
    let short = server(|number, _, stream| {
        let is_wrong = number == 7;
        if is_wrong {
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 30\r\n\r\n{}",
                page(number)
            );
        }
        is_wrong
    });
    let error = case(&short, "").fail("contract_broken");
    assert!(
        message(&error).contains("page 7 of") && message(&error).contains("is not JSON"),
        "{error}"
    );
}

#[test]
fn what_stays_broken_ends_the_run_and_commits_nothing() {
    let with = |status: &'static str, headers: &'static str, body: &'static str| {
        server(move |number, _, stream| {
            if number == 7 {
                send(stream, status, headers, body);
            }
            number == 7
        })
    };
    for (status, headers, body, kind, part) in [
        (
            "200 OK",
            "",
            "{\"items\": [{]}",
            "contract_broken",
            "the body is not JSON at byte 12",
        ),
        ("200 OK", "", "<html>", "contract_broken", "is not JSON"),
        ("200 OK", "", "", "contract_broken", "the body is empty"),
        (
            "200 OK",
            "",
            r#"{"items":[{"id":1,"id":2}]}"#,
            "contract_broken",
            "the key `id` twice",
        ),
        (
            "200 OK",
            "",
            r#"{"items":[1]}"#,
            "contract_broken",
            "record 1: it is a number",
        ),
        (
            "200 OK",
            "",
            r#"{"records":[]}"#,
            "contract_broken",
            "no records at `/items`; the body has `records`",
        ),
        (
            "200 OK",
            "",
            r#"{"items":[],"total_pages":"many"}"#,
            "contract_broken",
            "`/total_pages` is `\"many\"`, not a count",
        ),
        (
            "404 Not Found",
            "",
            "gone",
            "rejected",
            "status 404, `gone`",
        ),
        ("401 Unauthorized", "", "", "rejected", "status 401"),
        (
            "422 Unprocessable Content",
            "",
            "bad `page`",
            "rejected",
            "status 422, `bad 'page'`",
        ),
        ("501 Not Implemented", "", "", "rejected", "status 501"),
        // Longer than anybody waits inside a run.
        (
            "503 Service Unavailable",
            "retry-after: 600\r\n",
            "{}",
            "unavailable",
            "status 503",
        ),
    ] {
        let server = with(status, headers, body);
        let error = case(&server, "").fail(kind);
        assert!(message(&error).contains(part), "{status} {body}: {error}");
        assert!(
            message(&error).contains("page 7 of") || kind == "unavailable",
            "{error}"
        );
    }
}

#[test]
fn columns_never_get_wider_without_a_word() {
    let wide = |change: fn(&mut Value)| {
        Scripted::json(move |request| {
            let mut body = page(request.number("page"));
            if request.number("page") == 9 {
                change(&mut body["items"][1]);
            }
            body
        })
    };
    for (change, part, hint) in [
        (
            (|record| record["n"] = json!(0.5)) as fn(&mut Value),
            "record 2: column `n`: `0.5` is not an int64",
            "`{ n: number }`",
        ),
        (
            |record| record["n"] = json!({}),
            "column `n`: `{}` is not an int64",
            "`{ n: json }`",
        ),
        (
            |record| record["new"] = json!(1),
            "record 2: `new` is no column",
            "`new_fields: ignore`",
        ),
    ] {
        let server = wide(change);
        let error = case(&server, "").fail("contract_broken");
        assert!(
            message(&error).contains("page 9 of") && message(&error).contains(part),
            "{error}"
        );
        assert!(error["hint"].as_str().unwrap().contains(hint), "{error}");
    }
    // Where it is seen in time, the column is made for it.
    let server = wide(|record| record["n"] = json!(0.5));
    let case = Case::new(&format!(
        "api_url: \"{}\", infer_records: 24",
        server.url("/items")
    ));
    assert_eq!(case.read(), 24);
    assert_eq!(case.cell("select sum(n) from rows"), "147.5");
    let server = wide(|record| record["new"] = json!(1));
    let case = Case::new(&format!(
        "api_url: \"{}\", infer_records: 4, new_fields: ignore",
        server.url("/items")
    ));
    assert_eq!(case.read(), 24);
}

#[test]
fn an_endless_conversation_ends() {
    let count = AtomicUsize::new(0);
    let endless = Scripted::json(move |_| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        json!({ "items": [{ "id": number }], "next_cursor": format!("c{number}") })
    });
    let config = format!(
        "api_url: \"{}\", pagination_type: cursor, infer_records: 1",
        endless.url("/")
    );
    Case::with(&config, "limits: { deadline: 2s }").fail("limit_exceeded");

    let same = Scripted::json(
        |request| json!({ "items": [{ "at": request.param("cursor") }], "next_cursor": "again" }),
    );
    let error = Case::new(&format!(
        "api_url: \"{}\", pagination_type: cursor",
        same.url("/")
    ))
    .fail("rejected");
    assert!(
        message(&error).contains("the cursor `again`, where this run was before"),
        "{error}"
    );

    let repeated =
        Scripted::json(|request| json!({ "items": [{ "id": request.number("page").min(3) }] }));
    let error = Case::new(&format!(
        "api_url: \"{}\", infer_records: 1",
        repeated.url("/")
    ))
    .fail("rejected");
    assert!(
        message(&error).contains("page 4 is the same as one before it"),
        "{error}"
    );
}

#[test]
fn limits_of_the_job_hold() {
    let large = Scripted::json(|_| json!({ "items": [{ "text": "x".repeat(5000) }] }));
    let config = format!("api_url: \"{}\", pagination_type: none", large.url("/"));
    let error = Case::with(&config, "http: { max_response_size: 2KiB }").fail("limit_exceeded");
    assert!(
        message(&error).contains("larger than 2048 bytes"),
        "{error}"
    );
    assert!(
        error["hint"]
            .as_str()
            .unwrap()
            .contains("max_response_size"),
        "{error}"
    );

    let failing = Scripted::start(|_, stream| {
        send(
            stream,
            "500 Internal Server Error",
            "retry-after: 400\r\n",
            "{}",
        )
    });
    let config = format!("api_url: \"{}\", pagination_type: none", failing.url("/"));
    let error = Case::with(&config, "http: { retries: 0 }").fail("unavailable");
    assert!(
        message(&error).contains("after 1 attempt: status 500"),
        "{error}"
    );
}

#[test]
fn a_run_that_is_killed_leaves_nothing_behind() {
    let server = server(|number, _, _| {
        if number > 4 {
            std::thread::sleep(Duration::from_millis(150));
        }
        false
    });
    let case = case(&server, "");
    for wait in [100, 300, 600] {
        let mut running = case.command("run").spawn().unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        running.kill().unwrap();
        running.wait().unwrap();
        assert_eq!(case.state(), Value::Null);
    }
    check_whole(&case, 0);
}
