//! The client against servers that answer as a test says, on this machine. What real servers do is in `tests/rest/`.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::job::{HttpSettings, Secrets};

const CANARY: &str = "canary/1234 \"5678+é";

/// A server that answers request after request, each on a connection of its own.
struct Server {
    address: SocketAddr,
    /// Head and body of each request, as they came.
    received: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// `answer` gets the number of the request, from 0, and its text.
    fn start(answer: impl Fn(usize, &str) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&received);
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let request = read_request(&mut stream);
                seen.lock().unwrap().push(request.clone());
                let _ = stream.write_all(&answer(number, &request));
            }
        });
        Self { address, received }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn grant(&self) -> String {
        format!("* {}", self.url("/*"))
    }

    fn received(&self) -> Vec<String> {
        self.received.lock().unwrap().clone()
    }
}

fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return text,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
        }
    }
}

fn answer(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn settings() -> HttpSettings {
    HttpSettings {
        connect_timeout: Duration::from_secs(5),
        read_timeout: Duration::from_secs(5),
        timeout: Duration::from_secs(5),
        ..HttpSettings::default()
    }
}

fn access(grants: &[String], secrets: &Secrets, settings: HttpSettings) -> Arc<Access> {
    let lines = grants.iter().map(String::as_str);
    // A tenant for each test: what is kept for one must not reach another test.
    let tenant = uuid::Uuid::now_v7().to_string();
    Arc::new(Access::new(lines, secrets, &tenant, &settings).unwrap())
}

fn get(url: impl Into<String>) -> Request {
    Request {
        method: "GET".to_owned(),
        url: url.into(),
        ..Request::default()
    }
}

async fn send(access: &Arc<Access>, request: Request) -> Result<Response> {
    let client = Client::open(Arc::clone(access), None, None)?;
    client.send(request, u64::MAX).await
}

fn text(response: &Response) -> &str {
    std::str::from_utf8(&response.body).unwrap()
}

async fn refused(access: &Arc<Access>, request: Request, kind: ErrorKind, part: &str) {
    let failure = send(access, request).await.unwrap_err();
    assert_eq!(failure.kind, kind, "{failure}");
    assert!(failure.message.contains(part), "{failure}");
}

#[tokio::test]
async fn nothing_outside_the_grant_is_sent() {
    let server = Server::start(|_, _| answer("200 OK", "", "{}"));
    let access = access(
        &[format!("GET {}", server.url("/v1/*"))],
        &Secrets::default(),
        settings(),
    );
    let post = Request {
        method: "POST".to_owned(),
        ..get(server.url("/v1/a"))
    };
    refused(
        &access,
        post,
        ErrorKind::Denied,
        "no rule of this path has this method",
    )
    .await;
    for path in [
        "/",
        "/v2",
        "/v1/../v2",
        "/v1/%2e%2e/v2",
        "/v1/%252e%252e/v2",
        "/v1/..%2fv2",
    ] {
        let failure = send(&access, get(server.url(path))).await.unwrap_err();
        assert_eq!(failure.kind, ErrorKind::Denied, "{path}");
    }
    let port = server.address.port();
    refused(
        &access,
        get(format!("http://localhost:{port}/v1/a")),
        ErrorKind::Denied,
        "no rule has this host",
    )
    .await;
    refused(
        &access,
        get("http://10.0.0.1/"),
        ErrorKind::Denied,
        "outside the grant",
    )
    .await;
    assert_eq!(server.received(), Vec::<String>::new());
    assert_eq!(
        send(&access, get(server.url("/v1/a?q=1")))
            .await
            .unwrap()
            .status,
        200
    );
}

#[tokio::test]
async fn a_name_does_not_lead_to_this_machine() {
    let server = Server::start(|_, _| answer("200 OK", "", "{}"));
    let port = server.address.port();
    // Names below `localhost` may resolve to loopback or to nothing; neither may be connected to.
    let url = format!("http://api.localhost:{port}/");
    let settings = HttpSettings {
        retries: 0,
        ..settings()
    };
    let access = access(
        &[format!("GET {url} private")],
        &Secrets::default(),
        settings,
    );
    let failure = send(&access, get(url)).await.unwrap_err();
    assert!(
        matches!(failure.kind, ErrorKind::Denied | ErrorKind::Unavailable),
        "{failure}"
    );
    assert_eq!(server.received(), Vec::<String>::new());
}

#[tokio::test]
async fn redirects_are_held_against_the_grant_and_take_no_credentials_elsewhere() {
    let other = Server::start(|_, _| answer("200 OK", "", "other"));
    let outside = Server::start(|_, _| answer("200 OK", "", "outside"));
    let (to_other, to_outside) = (other.url("/"), outside.url("/"));
    let server = Server::start(move |_, request| {
        let path = request.split(' ').nth(1).unwrap_or_default();
        let to =
            |status: &str, location: &str| answer(status, &format!("location: {location}\r\n"), "");
        match path {
            "/own" => to("302 Found", "/end"),
            "/other" => to("302 Found", &to_other),
            "/outside" => to("302 Found", &to_outside),
            "/round" => to("302 Found", "/round"),
            "/post" => to("307 Temporary Redirect", &to_other),
            "/see" => to("303 See Other", "/end"),
            "/file" => to("302 Found", "file:///etc/passwd"),
            "/user" => to("302 Found", "http://u:p@127.0.0.1/"),
            _ => answer("200 OK", "", "end"),
        }
    });
    let (secrets, names) = Secrets::of(&[("KEY", CANARY)]);
    let access = access(&[server.grant(), other.grant()], &secrets, settings());
    let auth = Auth::Bearer("token-of-the-api".to_owned());
    let client = Client::open(Arc::clone(&access), Some(auth), None).unwrap();
    let with_headers = |path: &str| Request {
        headers: vec![
            ("cookie".to_owned(), "a=b".to_owned()),
            ("x-plain".to_owned(), "plain".to_owned()),
            ("x-secret".to_owned(), names[0].clone()),
        ],
        ..get(server.url(path))
    };
    let response = client.send(with_headers("/own"), u64::MAX).await.unwrap();
    assert_eq!(
        (text(&response), response.url.as_str()),
        ("end", server.url("/end").as_str())
    );
    let last = server.received().pop().unwrap().to_lowercase();
    assert!(
        last.contains("authorization: bearer token-of-the-api") && last.contains("cookie: a=b"),
        "{last}"
    );

    assert_eq!(
        text(&client.send(with_headers("/other"), u64::MAX).await.unwrap()),
        "other"
    );
    let arrived = other.received().pop().unwrap().to_lowercase();
    assert!(arrived.contains("x-plain: plain"), "{arrived}");
    for gone in ["authorization", "cookie", "x-secret", "canary", "referer"] {
        assert!(!arrived.contains(gone), "{gone} in {arrived}");
    }

    let denied = |path: &str, method: &str, body: Option<&str>| Request {
        method: method.to_owned(),
        body: body.map(|body| body.as_bytes().to_vec()),
        ..with_headers(path)
    };
    for (path, method, body, part) in [
        ("/outside", "GET", None, "outside the grant"),
        (
            "/post",
            "POST",
            Some("{}"),
            "with its body to another origin",
        ),
        ("/file", "GET", None, "to another scheme"),
        ("/user", "GET", None, "user or password"),
        ("/round", "GET", None, "more than 10 times"),
    ] {
        let failure = client
            .send(denied(path, method, body), u64::MAX)
            .await
            .unwrap_err();
        assert!(failure.message.contains(part), "{path}: {failure}");
    }
    assert_eq!(outside.received(), Vec::<String>::new());
    assert_eq!(other.received().len(), 1);

    client
        .send(denied("/see", "POST", Some("{}")), u64::MAX)
        .await
        .unwrap();
    let last = server.received().pop().unwrap();
    assert!(
        last.starts_with("GET /end") && !last.contains("{}"),
        "{last}"
    );
}

#[tokio::test]
async fn a_redirect_takes_no_secret_to_another_origin_in_its_url() {
    let other = Server::start(|_, _| answer("200 OK", "", "other"));
    let to = other.url("/");
    let server = Server::start(move |_, request| {
        let query = request
            .split(' ')
            .nth(1)
            .and_then(|path| path.split_once('?'));
        let query = query.map_or("", |(_, query)| query);
        answer("302 Found", &format!("location: {to}?{query}\r\n"), "")
    });
    let (secrets, names) = Secrets::of(&[("KEY", CANARY)]);
    let access = access(&[server.grant(), other.grant()], &secrets, settings());
    let request = get(server.url(&format!("/?key={}", names[0])));
    refused(
        &access,
        request,
        ErrorKind::Denied,
        "with a secret in the URL",
    )
    .await;
    assert_eq!(other.received(), Vec::<String>::new());
    // A placeholder that a server sends is not filled.
    let placeholder = names[0].clone();
    let to = other.url("/");
    let server = Server::start(move |_, _| {
        answer(
            "302 Found",
            &format!("location: {to}?k={placeholder}\r\n"),
            "",
        )
    });
    let access = super::tests::access(&[server.grant(), other.grant()], &secrets, settings());
    send(&access, get(server.url("/"))).await.unwrap();
    let arrived = other.received().pop().unwrap();
    assert!(
        arrived.contains(&names[0]) && !arrived.contains("canary"),
        "{arrived}"
    );
}

#[tokio::test]
async fn a_secret_arrives_and_never_comes_back() {
    // Sends back all that it got, in every way that a server might write it.
    let server = Server::start(|_, request| {
        let json = serde_json::Value::from(request).to_string();
        let ascii: String = json
            .chars()
            .map(|char| match char.is_ascii() {
                true => char.to_string(),
                false => format!("\\u{:04x}", u32::from(char)),
            })
            .collect();
        let encoded: String = url::form_urlencoded::byte_serialize(request.as_bytes()).collect();
        let body = format!("{request}\n{json}\n{ascii}\n{encoded}");
        let line = request.lines().next().unwrap_or_default();
        answer("200 OK", &format!("x-echo: {line}\r\n"), body)
    });
    let (secrets, names) = Secrets::of(&[("KEY", CANARY), ("PASSWORD", "pass word/17")]);
    let access = access(&[server.grant()], &secrets, settings());
    let request = Request {
        method: "POST".to_owned(),
        headers: vec![
            ("x-key".to_owned(), names[0].clone()),
            ("content-type".to_owned(), "application/json".to_owned()),
        ],
        body: Some(format!("{{\"key\":\"{}\"}}", names[0]).into_bytes()),
        ..get(server.url(&format!("/{}?key={0}", names[0])))
    };
    let auth = Auth::Basic("me".to_owned(), names[1].clone());
    let client = Client::open(Arc::clone(&access), Some(auth), None).unwrap();
    let response = client.send(request, u64::MAX).await.unwrap();

    let arrived = server.received().pop().unwrap();
    let in_url = "/canary%2F1234%20%225678%2B%C3%A9?key=canary%2F1234%20%225678%2B%C3%A9 ";
    assert!(arrived.contains(in_url), "{arrived}");
    assert!(
        arrived.contains(&format!("x-key: {CANARY}\r\n")),
        "{arrived}"
    );
    assert!(
        arrived.contains(r#"{"key":"canary/1234 \"5678+é"}"#),
        "{arrived}"
    );
    assert!(
        arrived.contains("authorization: Basic bWU6cGFzcyB3b3JkLzE3"),
        "{arrived}"
    );

    let seen = format!("{response:?} {}", text(&response));
    for value in ["canary", "1234", "5678", "pass", "word", "bWU6"] {
        assert!(!seen.contains(value), "{value} in {seen}");
    }
    assert!(
        seen.contains(&names[0]) && seen.contains("dativo-concealed"),
        "{seen}"
    );
    assert_eq!(access.usage.report().concealed, 1);
}

#[tokio::test]
async fn no_failure_tells_a_secret() {
    let server = Server::start(|_, request| {
        let line = request.lines().next().unwrap_or_default().to_owned();
        answer("500 Internal Server Error", "", line)
    });
    let (secrets, names) = Secrets::of(&[
        ("KEY", CANARY),
        ("SHORT", "1234567"),
        ("LINES", "12345678\r\nhost: x"),
    ]);
    let settings = HttpSettings {
        retries: 0,
        ..settings()
    };
    let access = access(&[server.grant()], &secrets, settings);
    let failure = send(&access, get(server.url(&format!("/?key={}", names[0]))))
        .await
        .unwrap_err();
    assert_eq!(failure.kind, ErrorKind::Unavailable);
    assert!(
        failure.message.contains("status 500") && !failure.message.contains("canary"),
        "{failure}"
    );
    refused(
        &access,
        get(server.url(&format!("/?k={}", names[1]))),
        ErrorKind::InvalidConfig,
        "shorter than 8",
    )
    .await;
    let header = Request {
        headers: vec![("x".to_owned(), names[2].clone())],
        ..get(server.url("/"))
    };
    refused(&access, header, ErrorKind::InvalidConfig, "line end").await;
    // Before the path a placeholder stays one, and is refused.
    for url in [
        format!("http://{}@{}/", names[0], server.address),
        format!("http://{}.{}/", names[0], server.address),
    ] {
        let failure = send(&access, get(url)).await.unwrap_err();
        assert!(!failure.message.contains("canary"), "{failure}");
    }
}

#[tokio::test]
async fn what_is_lost_or_temporary_is_sent_again() {
    let server = Server::start(|number, _| match number {
        0 => answer("500 Internal Server Error", "", ""),
        1 => b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\ncut".to_vec(),
        2 => b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab".to_vec(),
        3 => Vec::new(),
        _ => answer("200 OK", "", "whole"),
    });
    let access = access(&[server.grant()], &Secrets::default(), settings());
    assert_eq!(
        text(&send(&access, get(server.url("/"))).await.unwrap()),
        "whole"
    );
    let report = access.usage.report();
    assert_eq!((report.requests, report.retries), (5, 4));
}

#[tokio::test]
async fn retries_are_bounded_by_request_run_method_and_time() {
    let server =
        Server::start(|_, _| answer("503 Service Unavailable", "retry-after: 1\r\n", "busy\tnow"));
    let with = |settings: HttpSettings| access(&[server.grant()], &Secrets::default(), settings);
    let none = with(HttpSettings {
        retries: 0,
        ..settings()
    });
    let failure = send(&none, get(server.url("/"))).await.unwrap_err();
    assert_eq!(failure.retry_after, Some(Duration::from_secs(1)));
    assert!(
        failure
            .message
            .ends_with(r"failed after 1 attempt: status 503, `busy\tnow`"),
        "{failure}"
    );

    let spent = with(HttpSettings {
        retry_budget: 0,
        ..settings()
    });
    refused(
        &spent,
        get(server.url("/")),
        ErrorKind::Unavailable,
        "after 1 attempt",
    )
    .await;
    let impatient = with(HttpSettings {
        max_wait: Duration::from_millis(900),
        ..settings()
    });
    refused(
        &impatient,
        get(server.url("/")),
        ErrorKind::Unavailable,
        "after 1 attempt",
    )
    .await;

    let post = Request {
        method: "POST".to_owned(),
        ..get(server.url("/"))
    };
    let twice = with(HttpSettings {
        retries: 1,
        ..settings()
    });
    refused(
        &twice,
        post.clone(),
        ErrorKind::Unavailable,
        "after 1 attempt",
    )
    .await;
    let again = with(HttpSettings {
        retries: 1,
        ..settings()
    });
    refused(
        &again,
        Request {
            is_repeatable: true,
            ..post
        },
        ErrorKind::Unavailable,
        "after 2 attempts",
    )
    .await;
    assert!(again.usage.report().waited_ms >= 1000);
}

#[tokio::test]
async fn a_server_that_asks_for_patience_holds_back_everyone() {
    let server = Server::start(|number, _| match number {
        0 => answer("429 Too Many Requests", "retry-after: 1\r\n", ""),
        _ => answer("200 OK", "", "ok"),
    });
    let access = access(
        &[server.grant()],
        &Secrets::default(),
        HttpSettings {
            retries: 0,
            ..settings()
        },
    );
    assert!(send(&access, get(server.url("/"))).await.is_err());
    assert_eq!(
        text(&send(&access, get(server.url("/"))).await.unwrap()),
        "ok"
    );
    assert!(
        access.usage.report().waited_ms >= 900,
        "{:?}",
        access.usage.report()
    );
}

#[tokio::test]
async fn a_rate_holds_for_all_clients_of_a_tenant_together() {
    let server = Server::start(|_, _| answer("200 OK", "", "ok"));
    let access = access(&[server.grant()], &Secrets::default(), settings());
    let rate = |per_second| Rate::new(per_second, 1);
    let one = Client::open(Arc::clone(&access), None, rate(10.0)).unwrap();
    let other = Client::open(Arc::clone(&access), None, rate(1_000.0)).unwrap();
    let start = std::time::Instant::now();
    for client in [&one, &other, &one, &other, &one, &other] {
        client.send(get(server.url("/")), u64::MAX).await.unwrap();
    }
    // The slower of the two counts: five times a tenth of a second. This is what must not be too fast, on any machine.
    assert!(
        start.elapsed() >= Duration::from_millis(490),
        "{:?}",
        start.elapsed()
    );
    assert!(access.usage.report().waited_ms > 0);
}

#[tokio::test]
async fn answers_end_somewhere() {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    bomb.write_all(&vec![0; 4 << 20]).unwrap();
    let bomb = bomb.finish().unwrap();
    let server = Server::start(move |_, request| match request.split(' ').nth(1) {
        Some("/bomb") => answer("200 OK", "content-encoding: gzip\r\n", &bomb),
        Some("/large") => answer("200 OK", "", vec![b'x'; 2 << 20]),
        Some("/odd") => answer("200 OK", "content-encoding: rot13\r\n", "x"),
        Some("/headers") => answer("200 OK", &"a: b\r\n".repeat(300), "x"),
        Some("/slow") => {
            std::thread::sleep(Duration::from_millis(800));
            answer("200 OK", "", "late")
        }
        _ => b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
    });
    let settings = HttpSettings {
        max_response_bytes: 1 << 20,
        retries: 0,
        read_timeout: Duration::from_millis(300),
        timeout: Duration::from_millis(500),
        ..settings()
    };
    let access = access(&[server.grant()], &Secrets::default(), settings);
    let limit = "larger than 1048576 bytes";
    refused(
        &access,
        get(server.url("/bomb")),
        ErrorKind::LimitExceeded,
        limit,
    )
    .await;
    refused(
        &access,
        get(server.url("/large")),
        ErrorKind::LimitExceeded,
        limit,
    )
    .await;
    refused(
        &access,
        get(server.url("/odd")),
        ErrorKind::InvalidData,
        "encoding `rot13`",
    )
    .await;
    refused(
        &access,
        get(server.url("/ssh")),
        ErrorKind::InvalidData,
        "not HTTP",
    )
    .await;
    let failure = send(&access, get(server.url("/headers")))
        .await
        .unwrap_err();
    assert!(
        matches!(
            failure.kind,
            ErrorKind::InvalidData | ErrorKind::Unavailable
        ),
        "{failure}"
    );
    refused(
        &access,
        get(server.url("/slow")),
        ErrorKind::Unavailable,
        "silent",
    )
    .await;
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("http://{closed}/");
    let access = super::tests::access(
        &[format!("GET {url}")],
        &Secrets::default(),
        HttpSettings {
            retries: 0,
            ..super::tests::settings()
        },
    );
    refused(&access, get(url), ErrorKind::Unavailable, "no connection").await;
}

#[tokio::test]
async fn a_token_is_asked_for_once_renewed_and_concealed() {
    let tokens = Server::start(|number, _| {
        let body = format!(r#"{{"access_token":"token-number-{number}","expires_in":3600}}"#);
        answer("200 OK", "content-type: application/json\r\n", body)
    });
    let api = Server::start(|number, request| match number {
        // The first token was revoked after two requests.
        2 => answer("401 Unauthorized", "", ""),
        _ => answer("200 OK", "", request),
    });
    let (secrets, names) = Secrets::of(&[("ID", "client-id-1"), ("SECRET", CANARY)]);
    let access = access(
        &[api.grant(), format!("POST {}", tokens.url("/token"))],
        &secrets,
        settings(),
    );
    let auth = |is_in_body| {
        Auth::ClientCredentials(ClientCredentials {
            token_url: tokens.url("/token"),
            client_id: names[0].clone(),
            client_secret: names[1].clone(),
            scope: Some("read".to_owned()),
            parameters: vec![("audience".to_owned(), "api".to_owned())],
            is_in_body,
        })
    };
    let client = Client::open(Arc::clone(&access), Some(auth(true)), None).unwrap();
    let another = Client::open(Arc::clone(&access), Some(auth(true)), None).unwrap();
    for client in [&client, &another, &client] {
        let response = client.send(get(api.url("/")), u64::MAX).await.unwrap();
        let seen = text(&response);
        assert!(
            seen.contains("dativo-concealed") && !seen.contains("token-number"),
            "{seen}"
        );
    }
    assert_eq!(tokens.received().len(), 2);
    let asked = tokens.received().pop().unwrap();
    let body = "grant_type=client_credentials&client_id=client-id-1&client_secret=canary%2F1234+%225678%2B%C3%A9&scope=read&audience=api";
    assert!(asked.ends_with(body), "{asked}");
    let last = api.received().pop().unwrap();
    assert!(
        last.contains("authorization: Bearer token-number-1"),
        "{last}"
    );

    let client = Client::open(Arc::clone(&access), Some(auth(false)), None).unwrap();
    client.send(get(api.url("/")), u64::MAX).await.unwrap();
    let asked = tokens.received().pop().unwrap();
    assert!(
        asked.contains("authorization: Basic ") && !asked.contains("client_secret"),
        "{asked}"
    );

    let elsewhere = super::tests::access(&[api.grant()], &secrets, settings());
    let failure = Client::open(elsewhere, Some(auth(true)), None)
        .err()
        .unwrap();
    assert_eq!(failure.kind, ErrorKind::Denied);
}

#[tokio::test]
async fn a_token_that_is_refused_says_why() {
    let tokens = Server::start(|_, _| {
        answer(
            "400 Bad Request",
            "",
            r#"{"error":"invalid_client","error_description":"unknown canary/1234 \"5678+é"}"#,
        )
    });
    let (secrets, names) = Secrets::of(&[("SECRET", CANARY)]);
    let access = access(&[tokens.grant()], &secrets, settings());
    let auth = Auth::ClientCredentials(ClientCredentials {
        token_url: tokens.url("/token"),
        client_id: "me".to_owned(),
        client_secret: names[0].clone(),
        scope: None,
        parameters: Vec::new(),
        is_in_body: true,
    });
    let client = Client::open(Arc::clone(&access), Some(auth), None).unwrap();
    let failure = client
        .send(get(tokens.url("/")), u64::MAX)
        .await
        .unwrap_err();
    assert_eq!(failure.kind, ErrorKind::Rejected);
    assert!(
        failure.message.contains("`invalid_client`") && !failure.message.contains("1234"),
        "{failure}"
    );
}

#[tokio::test]
async fn bodies_come_decoded_and_connections_are_used_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(Mutex::new(0));
    let count = Arc::clone(&connections);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            *count.lock().unwrap() += 1;
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                while !read_request(&mut stream).is_empty() {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
                }
            });
        }
    });
    let access = access(
        &[format!("GET http://{address}/*")],
        &Secrets::default(),
        settings(),
    );
    for _ in 0..5 {
        assert_eq!(
            text(
                &send(&access, get(format!("http://{address}/")))
                    .await
                    .unwrap()
            ),
            "ok"
        );
    }
    assert_eq!(*connections.lock().unwrap(), 1);
}
