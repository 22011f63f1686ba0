//! A component that is after a secret. Its value reaches the server that the job grants, and nobody else: no row, no line of
//! output at the highest log level, no error, nothing that is kept, and no byte that another server gets.

use std::net::ToSocketAddrs as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::http::{Scripted, send, servers};
use crate::support::{TestDir, command, python, test_guests};

/// Unlike anything else, and with characters that every encoding writes its own way.
const CANARY: &str = "cnry-8a6f/2d41 \"e+9&7b<é>";

/// Parts that no other encoding changes, and how base64 begins, with what `Authorization: Basic` puts before it.
const PARTS: [&str; 4] = ["cnry-8a6f", "8a6f", "2d41", "Y25yeS04YTZmLzJk"];

/// `me:` and the value in base64.
const BASIC: &str = "bWU6Y25yeS04YTZmLzJkNDEgImUrOSY3YjzDqT4=";

struct Thief {
    dir: TestDir,
    output: std::process::Output,
}

impl Thief {
    /// Lets the component loose on `requests`.
    fn run(requests: &Value, grants: &[String], more: Value) -> Self {
        let dir = TestDir::new();
        let secrets = dir.path().join("secrets/t");
        std::fs::create_dir_all(&secrets).unwrap();
        std::fs::write(secrets.join("CANARY"), CANARY).unwrap();
        let mut config = json!({
            "requests": requests,
            "backwards": [backwards("cnry-8a6f"), backwards("planted-in-the-config")],
            "note": "planted-in-the-config",
        });
        config
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let job = json!({
            "tenant_id": "t",
            "http": { "retries": 0 },
            "source": { "reader": { "implementation": "thief", "config": config, "grants": { "http": grants } } },
            "target": { "writer": { "implementation": "parquet", "config": { "path": "out" } } },
        });
        dir.write("job.yaml", &job.to_string());
        let plugins = test_guests();
        let args = [
            "run",
            "job.yaml",
            "--secrets",
            "secrets",
            "--log",
            "json",
            "--plugins",
            plugins.to_str().unwrap(),
        ];
        let mut run: Command = command(&dir, &args);
        let output = run.env("DATIVO_LOG", "trace").output().unwrap();
        std::fs::remove_dir_all(dir.path().join("secrets")).unwrap();
        let thief = Self { dir, output };
        thief.check_nothing_leaked();
        thief
    }

    /// What each attempt saw.
    fn seen(&self) -> Vec<String> {
        let errors = String::from_utf8_lossy(&self.output.stderr);
        assert!(self.output.status.success(), "{errors}");
        let folder = self.dir.path().join("out");
        let rows = python(
            "query.py",
            &[folder.to_str().unwrap(), "select seen from rows"],
        );
        let rows: Vec<Vec<String>> = serde_json::from_value(rows).unwrap();
        rows.into_iter().flatten().collect()
    }

    /// Neither in what was printed nor in any file that the run left: the target, its state, the run store.
    fn check_nothing_leaked(&self) {
        let mut places = vec![
            ("standard output".to_owned(), self.output.stdout.clone()),
            ("standard error".to_owned(), self.output.stderr.clone()),
        ];
        collect(self.dir.path(), &mut places);
        assert!(
            places
                .iter()
                .any(|(name, _)| name.ends_with(".db") || name.ends_with("sqlite")),
            "{places:?}"
        );
        for (name, bytes) in places {
            check_clean(&name, &bytes);
        }
    }
}

fn collect(folder: &Path, places: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => collect(&path, places),
            false => places.push((path.display().to_string(), std::fs::read(&path).unwrap())),
        }
    }
}

fn check_clean(name: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for part in PARTS {
        let found = text.find(part).map(|at| {
            let start = text.floor_char_boundary(at.saturating_sub(200));
            text[start..text.ceil_char_boundary(at + 100)].to_owned()
        });
        assert_eq!(found, None, "`{part}` is in {name}");
    }
}

fn backwards(text: &str) -> String {
    text.chars().rev().collect()
}

fn names(text: &str) -> bool {
    text.contains("dativo-secret-") || text.contains("dativo-concealed")
}

const SECRET: &str = "${SECRET:CANARY}";

#[test]
fn an_echo_shows_a_placeholder() {
    let recorder = Scripted::start(|request, stream| {
        let all = request.text.replace('\r', "").replace('\n', " ");
        send(
            stream,
            "200 OK",
            &format!("x-echo: {all}\r\n"),
            &request.text,
        );
    });
    let httpbin = |path: &str| servers().url("httpbin", path);
    let requests = json!([
        { "url": recorder.url(&format!("/{SECRET}?q={SECRET}")), "headers": { "x-key": SECRET, "cookie": SECRET } },
        { "method": "POST", "url": recorder.url("/"), "body": SECRET },
        { "method": "POST", "url": httpbin("/anything"), "body": format!("{{\"key\": \"{SECRET}\"}}"), "headers": { "content-type": "application/json" } },
        { "method": "POST", "url": httpbin("/anything"), "body": format!("key={SECRET}"), "headers": { "content-type": "application/x-www-form-urlencoded" } },
        { "url": httpbin(&format!("/anything/{SECRET}?a={SECRET}&b=x{SECRET}y")) },
        { "url": httpbin("/headers"), "headers": { "x-key": format!("{SECRET}{SECRET}") } },
        { "url": httpbin(&format!("/response-headers?x-key={SECRET}")) },
        { "url": httpbin(&format!("/redirect-to?url=/anything/{SECRET}")) },
        { "url": httpbin("/bearer") },
        { "url": httpbin("/gzip"), "headers": { "x-key": SECRET } },
    ]);
    let count = requests.as_array().unwrap().len();
    let grants = [
        format!("* {}", recorder.url("/*")),
        format!("* {}", httpbin("/*")),
    ];
    let thief = Thief::run(&requests, &grants, json!({ "bearer": SECRET }));
    let seen = thief.seen();
    // The value arrived.
    let arrived = recorder.received();
    assert!(
        arrived[0].text.contains(&format!("x-key: {CANARY}\r\n")),
        "{arrived:?}"
    );
    assert!(
        arrived[0]
            .text
            .contains(&format!("authorization: Bearer {CANARY}\r\n")),
        "{arrived:?}"
    );
    assert!(arrived[1].text.ends_with(CANARY), "{arrived:?}");
    // And each attempt saw that there was something.
    for text in &seen[..count] {
        assert!(text.starts_with("got ") && names(text), "{text}");
    }
    let surroundings = "variables [] arguments [] files [false, false, false, false] folders [false, false] socket false";
    assert!(seen[count].starts_with(surroundings), "{}", seen[count]);
    // Its memory has what its config says, and never the value.
    assert!(
        seen[count + 1].starts_with("memory has it 0 times"),
        "{}",
        seen[count + 1]
    );
    assert!(
        !seen[count + 2].starts_with("memory has it 0 times"),
        "{}",
        seen[count + 2]
    );
}

#[test]
fn an_echo_of_a_password_shows_no_base64() {
    let recorder = Scripted::start(|request, stream| {
        send(stream, "200 OK", "", &format!("{} {BASIC}", request.text));
    });
    let requests = json!([
        { "url": recorder.url("/") },
        { "url": servers().url("httpbin", "/headers") },
        { "url": servers().url("httpbin", "/anything") },
    ]);
    let grants = [
        format!("GET {}", recorder.url("/")),
        format!("GET {}", servers().url("httpbin", "/*")),
    ];
    let thief = Thief::run(&requests, &grants, json!({ "basic": ["me", SECRET] }));
    let arrived = recorder.received()[0].text.clone();
    assert!(
        arrived.contains(&format!("authorization: Basic {BASIC}\r\n")),
        "{arrived}"
    );
    for text in &thief.seen()[..3] {
        assert!(text.starts_with("got 200") && names(text), "{text}");
    }
}

#[test]
fn nothing_is_sent_outside_the_grant() {
    let outside = Scripted::start(|_, stream| send(stream, "200 OK", "", "{}"));
    let granted = Scripted::start({
        let outside = outside.url("/");
        move |request, stream| match request.path.as_str() {
            "/leave" => send(
                stream,
                "302 Found",
                &format!(
                    "location: {outside}?key={}\r\n",
                    request.param("key").unwrap_or("")
                ),
                "",
            ),
            "/307" => send(
                stream,
                "307 Temporary Redirect",
                &format!("location: {outside}\r\n"),
                "",
            ),
            _ => send(stream, "200 OK", "", "{}"),
        }
    });
    let (inside, port) = (granted.address, outside.address.port());
    let requests = json!([
        { "url": outside.url(&format!("/?key={SECRET}")) },
        { "url": outside.url("/"), "headers": { "x-key": SECRET } },
        { "url": granted.url(&format!("/leave?key={SECRET}")), "headers": { "x-key": SECRET } },
        { "method": "POST", "url": granted.url("/307"), "body": SECRET },
        { "url": format!("http://localhost:{port}/?key={SECRET}") },
        { "url": format!("http://[::ffff:127.0.0.1]:{port}/?key={SECRET}") },
        { "url": format!("http://2130706433:{port}/?key={SECRET}") },
        { "url": format!("http://{inside}@127.0.0.1:{port}/?key={SECRET}") },
        { "url": format!("http://{SECRET}@{inside}/") },
        { "url": format!("http://{SECRET}.localhost:{port}/") },
        { "url": format!("{SECRET}://{inside}/") },
        { "url": format!("http://{inside}#@127.0.0.1:{port}/{SECRET}") },
        { "url": granted.url("/"), "headers": { "host": format!("127.0.0.1:{port}") } },
        { "url": granted.url("/"), "headers": { "x": format!("a\r\nx-key: {SECRET}") } },
        { "url": granted.url("/"), "headers": { "range": "bytes=0-3", "x-key": SECRET } },
        { "url": granted.url("/"), "headers": { "proxy-authorization": SECRET } },
        { "method": "CONNECT", "url": granted.url("/") },
        { "method": format!("GET /{SECRET} HTTP/1.1\r\nx: "), "url": granted.url("/") },
        { "url": format!("file:///proc/self/environ?{SECRET}") },
        { "url": format!("http://169.254.169.254/latest/{SECRET}") },
    ]);
    let grants = [format!("* {}", granted.url("/*"))];
    let thief = Thief::run(&requests, &grants, json!({}));
    let seen = thief.seen();
    let failed = seen
        .iter()
        .filter(|text| text.starts_with("failed "))
        .count();
    // The one with `#` goes to the granted server, without what follows.
    assert_eq!(failed, requests.as_array().unwrap().len() - 1, "{seen:#?}");
    assert_eq!(outside.received().len(), 0, "{:?}", outside.received());
    for received in granted.received() {
        assert!(
            !received.text.contains("range") && !received.text.contains("proxy-"),
            "{received:?}"
        );
    }
}

#[test]
fn a_redirect_takes_no_secret_along_even_to_a_granted_server() {
    let other = Scripted::start(|_, stream| send(stream, "200 OK", "", "{}"));
    let granted = Scripted::start({
        let other = other.url("/");
        move |request, stream| {
            let query = request.text.split(' ').nth(1).unwrap().split('?').nth(1);
            let target = match request.path.as_str() {
                "/with" => format!("{other}?{}", query.unwrap_or("")),
                _ => other.clone(),
            };
            let status = match request.path.as_str() {
                "/307" => "307 Temporary Redirect",
                "/303" => "303 See Other",
                _ => "302 Found",
            };
            send(stream, status, &format!("location: {target}\r\n"), "");
        }
    });
    let headers = json!({ "x-key": SECRET, "cookie": "sid=17", "x-plain": "goes along" });
    let requests = json!([
        { "url": granted.url("/302"), "headers": headers },
        { "method": "POST", "url": granted.url("/303"), "headers": headers, "body": SECRET },
        { "method": "POST", "url": granted.url("/307"), "headers": headers, "body": SECRET },
        { "url": granted.url(&format!("/with?key={SECRET}")), "headers": headers },
    ]);
    let grants = [&granted, &other].map(|server| format!("* {}", server.url("/*")));
    let thief = Thief::run(&requests, &grants, json!({ "bearer": SECRET }));
    let seen = thief.seen();
    assert!(
        seen[0].starts_with("got 200") && seen[1].starts_with("got 200"),
        "{seen:#?}"
    );
    let denied = |text: &String, why: &str| {
        text.starts_with("failed ErrorKind::Denied") && text.contains(why)
    };
    assert!(denied(&seen[2], "with its body"), "{seen:#?}");
    assert!(denied(&seen[3], "with a secret in the URL"), "{seen:#?}");
    assert_eq!(other.received().len(), 2);
    for received in other.received() {
        check_clean("what the other server got", received.text.as_bytes());
        let text = received.text.to_lowercase();
        assert!(text.contains("x-plain: goes along\r\n"), "{text}");
        assert!(
            ["authorization", "cookie", "x-key"]
                .iter()
                .all(|name| !text.contains(name)),
            "{text}"
        );
    }
}

/// A name of this machine that is not `localhost`, as someone who owns a name and its addresses would have it.
fn name_of_this_machine() -> String {
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let names = hosts
        .lines()
        .filter_map(|line| line.split('#').next())
        .flat_map(|line| line.split_whitespace().skip(1));
    let leads_here = |name: &&str| {
        let found = (*name, 80).to_socket_addrs();
        let found: Vec<_> = found.into_iter().flatten().collect();
        !found.is_empty() && found.iter().all(|address| address.ip().is_loopback())
    };
    let mut names = names.filter(|name| *name != "localhost" && !name.ends_with(".localhost"));
    let name = names.find(leads_here);
    let none = "`/etc/hosts` needs a name of this machine beside `localhost`";
    name.unwrap_or_else(|| panic!("{none}")).to_owned()
}

#[test]
fn a_name_that_leads_to_this_machine_is_refused() {
    let outside = Scripted::start(|_, stream| send(stream, "200 OK", "", "{}"));
    let name = format!(
        "http://{}:{}/",
        name_of_this_machine(),
        outside.address.port()
    );
    let target = name.clone();
    let granted = Scripted::start(move |_, stream| {
        send(stream, "302 Found", &format!("location: {target}\r\n"), "")
    });
    let metadata = "http://169.254.169.254/";
    let requests = json!([
        { "url": format!("{name}?key={SECRET}") },
        { "url": granted.url("/") },
        { "url": format!("{metadata}?key={SECRET}") },
    ]);
    // No grant allows it: neither of the name, nor of private addresses behind it.
    for rule in ["", " private"] {
        let grants = [
            format!("GET {name}{rule}"),
            format!("GET {}", granted.url("/")),
            format!("GET {metadata}{rule}"),
        ];
        let thief = Thief::run(&requests, &grants, json!({}));
        let seen = thief.seen();
        for (attempt, reason) in [(0, "this machine"), (1, "this machine"), (2, "link-local")] {
            assert!(
                seen[attempt].starts_with("failed ErrorKind::Denied")
                    && seen[attempt].contains(reason),
                "{rule}: {}",
                seen[attempt]
            );
        }
        assert_eq!(outside.received().len(), 0, "{rule}");
    }
}

#[test]
fn an_error_of_the_component_tells_nothing() {
    let echo = Scripted::start(|request, stream| {
        send(stream, "500 Internal Server Error", "", &request.text)
    });
    let requests = json!([
        { "url": echo.url(&format!("/{SECRET}")), "headers": { "x-key": SECRET } },
        { "url": echo.url("/"), "headers": { "x-key": "\u{1}" } },
    ]);
    let grants = [format!("* {}", echo.url("/*"))];
    let thief = Thief::run(
        &requests,
        &grants,
        json!({ "bearer": SECRET, "complain": true }),
    );
    assert!(!thief.output.status.success());
    // Users are told the name of the secret, where a component knows its placeholder.
    let errors = String::from_utf8_lossy(&thief.output.stderr);
    assert!(errors.contains(SECRET), "{errors}");
    assert!(echo.received()[0].text.contains(CANARY));
}
