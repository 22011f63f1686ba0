//! How requests travel: TLS, proxies, redirects, rates that jobs share, and what is sent again.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::{Case, message};
use crate::support::http::{Scripted, send, servers};
use crate::support::{Output, TestDir, cli};

/// A run with these variables in its environment.
fn run_with(case: &Case, variables: &[(&str, &str)]) -> Output {
    let mut run = case.command("run");
    Output::of(run.envs(variables.iter().copied()))
}

#[test]
fn a_server_that_cannot_prove_who_it_is_is_refused() {
    let by_name = servers()
        .url("tls", "/items")
        .replace("http://127.0.0.1", "https://localhost");
    let by_address = by_name.replace("localhost", "127.0.0.1");
    let authority = |name: &str| servers().folder.join("tls").join(name);
    let (right, wrong) = (authority("ca.crt"), authority("other-ca.crt"));
    // The certificate is of `localhost`, not of its address.
    for (url, authority) in [(&by_name, &wrong), (&by_address, &right)] {
        let case = Case::with(
            &format!("api_url: \"{url}\", pagination_type: none"),
            "http: { retries: 0 }",
        );
        let output = run_with(&case, &[("SSL_CERT_FILE", authority.to_str().unwrap())]);
        assert_ne!(output.code, 0, "{url}: {output:?}");
        let error = output.json()["error"].clone();
        let text = message(&error).to_lowercase();
        assert!(text.contains("certificate"), "{url}: {error}");
    }
    // The authorities of this machine do not know it.
    let case = Case::with(
        &format!("api_url: \"{by_name}\", pagination_type: none"),
        "http: { retries: 0 }",
    );
    assert_ne!(case.run().code, 0);
    let output = run_with(&case, &[("SSL_CERT_FILE", right.to_str().unwrap())]);
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(case.cell("select protocol from rows"), "HTTP/2.0");
}

#[test]
fn nothing_leads_out_of_tls() {
    let url = servers()
        .url("tls", "/to-plain")
        .replace("http://127.0.0.1", "https://localhost");
    let case = Case::new("api_url: \"x\"");
    // Both are granted; it is the way from one to the other that is not.
    let plain = servers().url("nginx", "/*");
    let job = json!({
        "tenant_id": "t",
        "source": { "reader": { "implementation": "rest", "config": { "api_url": url, "pagination_type": "none" },
            "grants": { "http": [format!("GET {plain}")] } } },
        "target": { "writer": { "implementation": "parquet", "config": { "path": "out" } } },
    });
    case.0.write("job.yaml", &job.to_string());
    let authority = servers().folder.join("tls/ca.crt");
    let output = run_with(&case, &[("SSL_CERT_FILE", authority.to_str().unwrap())]);
    let error = output.json()["error"].clone();
    assert_eq!(error["kind"], "denied", "{output:?}");
    assert!(
        message(&error).contains("from `https` to `http`"),
        "{error}"
    );
}

#[test]
fn only_the_job_names_a_proxy() {
    // It plays the API of a name that nobody can resolve.
    let proxy = Scripted::start(|_, stream| send(stream, "200 OK", "", r#"[{"id":1}]"#));
    let address = proxy.url("");
    let variables = [
        ("HTTP_PROXY", address.as_str()),
        ("http_proxy", &address),
        ("ALL_PROXY", &address),
        ("all_proxy", &address),
        // Nothing is left out, whatever this machine says.
        ("NO_PROXY", ""),
        ("no_proxy", ""),
    ];
    let api = Scripted::json(|_| json!([{ "id": 1 }]));
    let case = Case::new(&format!(
        "api_url: \"{}\", pagination_type: none",
        api.url("/items")
    ));
    let output = run_with(&case, &variables);
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(proxy.received().len(), 0, "{:?}", proxy.received());

    let with_password = address.replace("http://", "http://me:${SECRET:PASSWORD}@");
    let case = Case::with(
        "api_url: \"http://api.example/items\", pagination_type: none",
        &format!("http: {{ proxy: \"{with_password}\" }}"),
    );
    case.secret("PASSWORD", "of-the-proxy 17");
    assert_eq!(case.read(), 1);
    for received in proxy.received() {
        assert!(
            received
                .text
                .starts_with("GET http://api.example/items HTTP/1.1\r\n"),
            "{received:?}"
        );
        // `me:of-the-proxy 17`
        assert!(
            received
                .text
                .contains("proxy-authorization: Basic bWU6b2YtdGhlLXByb3h5IDE3\r\n"),
            "{received:?}"
        );
    }
    // Nor is it a way to addresses that nobody may reach.
    let asked = proxy.received().len();
    case.write(
        "api_url: \"http://169.254.169.254/latest\", pagination_type: none",
        &format!("http: {{ proxy: \"{with_password}\" }}"),
    );
    let error = case.fail("denied");
    assert!(message(&error).contains("169.254.169.254"), "{error}");
    assert_eq!(proxy.received().len(), asked);
}

#[test]
fn a_link_that_holds_a_secret_can_be_followed() {
    let key = "k/17 +é&\"long";
    for (config, pagination) in [
        ("params: { key: \"${SECRET:KEY}\" }", "next_url"),
        ("params: { key: \"${SECRET:KEY}\" }", "link"),
        (
            "auth: { type: query, name: key, value: \"${SECRET:KEY}\" }",
            "next_url",
        ),
    ] {
        let server = Scripted::start(move |request, stream| {
            let has_key = request.param("key") == Some(key);
            let page = request.number("page").max(1);
            // Built from the request, as servers do.
            let target = request.text.split(' ').nth(1).unwrap();
            let (path, query) = target.split_once('?').unwrap();
            let kept: Vec<_> = query
                .split('&')
                .filter(|part| !part.starts_with("page="))
                .collect();
            let base = format!("{path}?{}", kept.join("&"));
            let host = request
                .text
                .lines()
                .find_map(|line| line.strip_prefix("host: "))
                .unwrap();
            let next = (page < 3).then(|| format!("http://{host}{base}&page={}", page + 1));
            let link = next.as_ref().map_or(String::new(), |next| {
                format!("link: <{next}>; rel=next\r\n")
            });
            let body = json!({ "items": [{ "id": page }], "next": next }).to_string();
            match has_key {
                true => send(stream, "200 OK", &link, &body),
                false => send(stream, "403 Forbidden", "", "{}"),
            }
        });
        let case = Case::new(&format!(
            "api_url: \"{}\", pagination_type: {pagination}, {config}",
            server.url("/items")
        ));
        case.secret("KEY", key);
        let output = case.run();
        assert_eq!(
            output.code,
            0,
            "{config}: {output:?} {:#?}",
            server.received()
        );
        let report = output.json();
        assert_eq!(report["rows_read"], 3, "{config}");
        assert!(
            report["http"]["concealed"].as_u64().unwrap() > 0,
            "{report}"
        );
    }
}

#[test]
fn jobs_of_a_tenant_share_the_rate_of_an_origin() {
    let server = Scripted::json(|_| json!([{ "id": 1 }]));
    let dir = TestDir::new();
    std::fs::create_dir(dir.path().join("jobs")).unwrap();
    // They run in this order, one request each: alone, nobody would wait.
    for (name, tenant) in [("1-first", "t"), ("2-same", "t"), ("3-stranger", "u")] {
        let reader = json!({
            "api_url": server.url("/"), "pagination_type": "none", "rate_limit_rps": 0.2, "schema": { "id": "int64" },
        });
        let job = json!({
            "tenant_id": tenant,
            "source": { "reader": { "implementation": "rest", "config": reader } },
            "target": { "writer": { "implementation": "parquet", "config": { "path": format!("out/{name}") } } },
        });
        dir.write(&format!("jobs/{name}.yaml"), &job.to_string());
    }
    let output = cli(&dir, &["run", "jobs", "--json"]);
    assert_eq!(output.code, 0, "{output:?}");
    let report = output.json();
    let runs = report["runs"].as_array().unwrap();
    let waited: Vec<bool> = runs
        .iter()
        .map(|run| {
            assert_eq!(run["http"]["requests"], 1, "{run}");
            run["http"]["waited_ms"].as_u64().unwrap() > 0
        })
        .collect();
    assert_eq!(waited, [false, true, false], "{report}");
}

#[test]
fn a_post_that_reads_is_sent_again_as_it_was() {
    let count = AtomicUsize::new(0);
    let server = Scripted::start(
        move |_, stream| match count.fetch_add(1, Ordering::Relaxed) {
            0 => send(stream, "503 Service Unavailable", "retry-after: 0\r\n", ""),
            _ => send(stream, "200 OK", "", r#"{"items":[{"id":1}]}"#),
        },
    );
    let case = Case::new(&format!(
        "api_url: \"{}\", method: POST, pagination_type: none, body: {{ query: \"é {{{{x}}\" }}",
        server.url("/search")
    ));
    let report = case.succeed();
    assert_eq!(report["rows_read"], 1);
    assert!(report["http"]["retries"].as_u64().unwrap() >= 1, "{report}");
    let bodies: Vec<Value> = server
        .received()
        .iter()
        .map(|received| {
            let body = received.text.split_once("\r\n\r\n").unwrap().1;
            serde_json::from_str(body).unwrap()
        })
        .collect();
    assert!(bodies.len() >= 2, "{bodies:?}");
    assert!(
        bodies
            .iter()
            .all(|body| *body == json!({ "query": "é {x}" })),
        "{bodies:?}"
    );
}

#[test]
fn a_run_does_not_try_again_for_ever() {
    // Every page fails once, so no request on its own uses up what it may try.
    let asked: Vec<AtomicUsize> = (0..9).map(|_| AtomicUsize::new(0)).collect();
    let server = Scripted::start(move |request, stream| {
        let page = request.number("page");
        match asked[page as usize].fetch_add(1, Ordering::Relaxed) {
            0 => send(
                stream,
                "500 Internal Server Error",
                "retry-after: 0\r\n",
                "",
            ),
            _ => send(
                stream,
                "200 OK",
                "",
                &json!({ "items": [{ "id": page }], "total_pages": 8 }).to_string(),
            ),
        }
    });
    let case = Case::with(
        &format!(
            "api_url: \"{}\", schema: {{ id: int64 }}",
            server.url("/items")
        ),
        "http: { retry_budget: 4 }",
    );
    let error = case.fail("unavailable");
    assert!(message(&error).contains("status 500"), "{error}");
}
