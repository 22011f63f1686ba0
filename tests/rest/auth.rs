//! Who asks: every kind of credentials, on a server that checks them. What a connector must not see of them is in `thief.rs`.

use serde_json::{Value, json};

use super::{Case, message};
use crate::support::http::{Scripted, send, servers};

/// What httpbin answers, by the keys that its body has in place of records.
fn answer(path: &str, auth: &str) -> Value {
    let url = servers().url("httpbin", path);
    let case = Case::new(&format!("api_url: \"{url}\", pagination_type: none{auth}"));
    case.secret("TOKEN", "a-long-token-17");
    case.fail(match auth.contains("wrong") || auth.is_empty() {
        true => "rejected",
        false => "contract_broken",
    })
}

#[test]
fn credentials_are_checked_by_the_server() {
    for (path, auth) in [
        ("/bearer", ", api_key: \"${SECRET:TOKEN}\""),
        (
            "/bearer",
            ", auth: { type: bearer, token: \"${SECRET:TOKEN}\" }",
        ),
        (
            "/basic-auth/me/a-long-token-17",
            ", auth: { type: basic, user: me, password: \"${SECRET:TOKEN}\" }",
        ),
    ] {
        let error = answer(path, auth);
        assert!(
            message(&error).contains("`authenticated`"),
            "{auth}: {error}"
        );
    }
    for (path, auth) in [
        ("/bearer", ""),
        (
            "/basic-auth/me/a-long-token-17",
            ", auth: { type: basic, user: me, password: wrong-one }",
        ),
    ] {
        let error = answer(path, auth);
        assert!(message(&error).contains("status 401"), "{auth}: {error}");
        assert!(
            error["hint"].as_str().unwrap().contains("`auth`"),
            "{error}"
        );
    }
}

#[test]
fn keys_go_into_a_header_or_the_query() {
    let server = Scripted::start(|request, stream| {
        let has_header = request
            .text
            .to_lowercase()
            .contains("x-api-key: a-long-token-17\r\n");
        match has_header || request.param("key") == Some("a-long-token-17") {
            true => send(stream, "200 OK", "", r#"[{"id":1}]"#),
            false => send(stream, "403 Forbidden", "", r#"{"error":"no key"}"#),
        }
    });
    for (auth, is_right) in [
        (
            "auth: { type: header, name: X-Api-Key, value: \"${SECRET:TOKEN}\" }",
            true,
        ),
        (
            "auth: { type: query, name: key, value: \"${SECRET:TOKEN}\" }",
            true,
        ),
        ("params: { key: \"${SECRET:TOKEN}\" }", true),
        ("headers: { x-api-key: \"${SECRET:TOKEN}\" }", true),
        ("params: { other: \"${SECRET:TOKEN}\" }", false),
    ] {
        let case = Case::new(&format!(
            "api_url: \"{}\", pagination_type: none, {auth}",
            server.url("/")
        ));
        case.secret("TOKEN", "a-long-token-17");
        match is_right {
            true => assert_eq!(case.read(), 1, "{auth}"),
            false => assert!(
                message(&case.fail("rejected")).contains("status 403, `{\"error\":\"no key\"}`")
            ),
        }
    }
}

#[test]
fn a_token_of_oauth2_is_asked_for_and_renewed() {
    let tokens = Scripted::json(|request| {
        assert!(request.text.ends_with("grant_type=client_credentials&client_id=me&client_secret=a-long-token-17&scope=read"), "{request:?}");
        json!({ "access_token": format!("token-{}", request.text.len()), "token_type": "Bearer", "expires_in": 3600 })
    });
    let count = std::sync::atomic::AtomicUsize::new(0);
    let api = Scripted::start(move |request, stream| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let page = request.number("page");
        match request.text.contains("authorization: Bearer token-") && number != 2 {
            true => send(
                stream,
                "200 OK",
                "",
                &json!({ "items": [{ "id": page }], "total_pages": 3 }).to_string(),
            ),
            false => send(stream, "401 Unauthorized", "", "{}"),
        }
    });
    let case = Case::new(&format!(
        "api_url: \"{}\", auth: {{ type: oauth2, token_url: \"{}\", client_id: me, client_secret: \"${{SECRET:TOKEN}}\", \
         scope: read, credentials_in: body }}",
        api.url("/items"),
        tokens.url("/token")
    ));
    case.secret("TOKEN", "a-long-token-17");
    assert_eq!(case.read(), 3);
    assert_eq!(tokens.received().len(), 2);
}
