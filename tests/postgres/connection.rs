//! Who is connected to, how it is protected, and what is refused: TLS, authentication, grants, secrets.

use serde_json::{Value, json};

use super::{check_rows, error, fails, run, write_job};
use crate::support::postgres::{Database, Server, newer_server, server};
use crate::support::{Output, TestDir, cli, files_below, test_guests};

/// A database with a table of three rows.
fn with_a_table<'a>(server: &'a Server) -> Database<'a> {
    let database = server.database();
    database.sql("create table t as select n, 'row ' || n as name from generate_series(1, 3) n;");
    database
}

/// Reads the table with this connection string.
fn connect(url: &str) -> Output {
    let dir = TestDir::new();
    run(
        &dir,
        "job",
        &json!({ "connection_string": url, "table": "t" }),
        &json!({}),
    )
}

fn connects(url: &str) {
    let output = connect(url);
    assert_eq!(output.code, 0, "{url}: {output:?}");
    assert_eq!(output.json()["rows_read"], 3, "{url}");
}

#[test]
fn refuses_a_server_that_cannot_prove_who_it_is() {
    let database = with_a_table(server());
    let by_address = database.plain_url("reader");
    let by_name = by_address.replace("127.0.0.1", "localhost");
    let (right, wrong) = (server().tls("ca.crt"), server().tls("other-ca.crt"));
    let no_authority = "certificate";
    for (url, mode, authority, message) in [
        (&by_name, "verify-full", &wrong, no_authority),
        (&by_name, "verify-ca", &wrong, no_authority),
        (&by_name, "require", &wrong, no_authority),
        // The certificate is of `localhost`, not of its address.
        (&by_address, "verify-full", &right, no_authority),
    ] {
        let output = connect(&format!("{url}?sslmode={mode}&sslrootcert={authority}"));
        assert_ne!(output.code, 0, "{mode} {authority}");
        let error = error(&output);
        let text = error["message"].as_str().unwrap().to_lowercase();
        assert!(text.contains(message), "{mode} {authority}: {error:#}");
    }
    // The system's authorities do not know it.
    for mode in ["verify-full", "verify-ca"] {
        assert_ne!(
            connect(&format!("{by_name}?sslmode={mode}")).code,
            0,
            "{mode}"
        );
    }
    for (mode, url) in [
        ("verify-full", &by_name),
        ("verify-ca", &by_name),
        ("verify-ca", &by_address),
        ("require", &by_address),
    ] {
        connects(&format!("{url}?sslmode={mode}&sslrootcert={right}"));
    }
}

#[test]
fn encrypts_as_the_job_asks_and_the_server_can() {
    let database = with_a_table(server());
    let only_tls = database.plain_url("only_tls");
    let only_plain = database.plain_url("only_plain");
    fails(
        &connect(&format!("{only_tls}?sslmode=disable")),
        1,
        "pg_hba.conf",
        "pg_hba.conf",
    );
    fails(
        &connect(&format!("{only_plain}?sslmode=require")),
        1,
        "pg_hba.conf",
        "pg_hba.conf",
    );
    connects(&format!("{only_tls}?sslmode=prefer"));
    connects(&format!("{only_tls}?sslmode=require"));
    connects(&only_tls);
    connects(&format!("{only_plain}?sslmode=disable"));

    // This one knows no TLS at all.
    let database = with_a_table(newer_server());
    let url = database.plain_url("reader");
    for mode in ["require", "verify-ca", "verify-full"] {
        let output = connect(&format!("{url}?sslmode={mode}"));
        assert_ne!(output.code, 0, "{mode}");
        assert!(
            error(&output)["message"].as_str().unwrap().contains("TLS"),
            "{output:?}"
        );
    }
    connects(&format!("{url}?sslmode=prefer"));
    connects(&format!("{url}?sslmode=disable"));
}

#[test]
fn logs_in_by_every_method_and_not_with_a_wrong_password() {
    let database = with_a_table(server());
    for role in ["reader", "by_md5", "by_password"] {
        connects(&database.url(role));
        let wrong = database.url(role).replace("pw-of", "not");
        let output = connect(&wrong);
        assert_ne!(output.code, 0);
        let error = error(&output);
        assert!(
            error["message"]
                .as_str()
                .unwrap()
                .contains("password authentication failed"),
            "{role}: {error:#}"
        );
        assert!(
            !error["hint"].as_str().unwrap_or_default().is_empty(),
            "{error:#}"
        );
    }
    connects(&database.url("by_trust").replace(":pw-of-by_trust", ""));

    let url = database.plain_url("by_cert").replace(":pw-of-by_cert", "");
    let files = [("sslcert", "client.crt"), ("sslkey", "client.key")]
        .map(|(key, file)| format!("&{key}={}", server().tls(file)))
        .concat();
    connects(&format!("{url}?sslmode=require{files}"));
    let output = connect(&format!("{url}?sslmode=require"));
    assert_ne!(output.code, 0, "{output:?}");
}

#[test]
fn names_what_is_not_there() {
    let database = with_a_table(server());
    let url = database.url("reader");
    let elsewhere = url.replace(&database.name, "no_such_database");
    fails(&connect(&elsewhere), 1, "no_such_database", "psql -l");
    fails(&connect(&database.url("nobody")), 1, "nobody", "user");

    let dir = TestDir::new();
    let job = |config: Value| run(&dir, "job", &config, &json!({}));
    fails(
        &job(json!({ "connection_string": url, "table": "T" })),
        1,
        "`T`",
        "public.t",
    );
    fails(
        &job(json!({ "connection_string": database.url("stranger"), "table": "t" })),
        1,
        "permission denied",
        "GRANT SELECT",
    );
    fails(
        &job(json!({ "connection_string": url, "table": "t", "columns": ["n", "nam"] })),
        2,
        "`nam`",
        "`name`",
    );
}

#[test]
fn a_server_that_is_down_is_unavailable() {
    let one = Server::start(None);
    let database = with_a_table(&one);
    let url = database.url("reader");
    connects(&url);
    one.stop();
    let output = connect(&url);
    fails(&output, 75, "127.0.0.1", "");
    let error = error(&output);
    assert_eq!(error["kind"], "unavailable");
    assert!(
        !error["hint"].as_str().unwrap_or_default().is_empty(),
        "{error:#}"
    );
}

/// Lets the test component connect to `target`; kind and message of how that ended.
fn dial(granted: &str, target: &str) -> (String, String) {
    let dir = TestDir::new();
    let job = json!({
        "tenant_id": "t",
        "source": { "reader": { "type": "custom", "implementation": "dial",
            "config": { "target": target, "statement": "SELECT 1" },
            "grants": { "postgres": [format!("connect {granted}")] } } },
        "target": { "writer": { "type": "custom", "implementation": "discard" } },
    });
    dir.write("job.yaml", &job.to_string());
    let plugins = test_guests();
    let args = [
        "run",
        "job.yaml",
        "--json",
        "--plugins",
        plugins.to_str().unwrap(),
    ];
    let output = cli(&dir, &args);
    assert_ne!(output.code, 0);
    let error = error(&output);
    let text = |key: &str| error[key].as_str().unwrap().to_owned();
    (text("kind"), text("message"))
}

#[test]
fn denies_another_server_database_or_lock_than_the_job_grants() {
    let database = server().database();
    let (other, elsewhere) = (server().database(), newer_server().database());
    let granted = database.url("reader");
    let got = dial(&granted, &granted);
    assert_eq!(got, ("rejected".to_owned(), "got: 1".to_owned()));
    let with_tls = format!("{}?sslmode=require", database.plain_url("reader"));
    for (granted, target) in [
        (&granted, &other.url("reader")),
        (&granted, &granted.replace("127.0.0.1", "localhost")),
        (&granted, &elsewhere.url("reader")),
        (&granted, &format!("{granted}&host=localhost")),
        (
            &granted,
            &format!("{granted}&sslkey=/etc/ssl/private/key.pem"),
        ),
        (&with_tls, &granted),
        (
            &with_tls,
            &format!("{}?sslmode=prefer", database.plain_url("reader")),
        ),
        // An address that no database should be at: whoever grants a name does not grant what is behind it.
        (
            &"postgresql://reader@169.254.169.254:5432/x".to_owned(),
            &"postgresql://reader@169.254.169.254:5432/x".to_owned(),
        ),
    ] {
        let (kind, message) = dial(granted, target);
        assert_eq!(kind, "denied", "{target} with {granted}: {message}");
        assert!(!message.contains("pw-of"), "{message}");
    }
}

#[test]
fn a_password_never_leaves_the_host_but_to_the_server() {
    let database = with_a_table(server());
    database.sql(
        "create role \"odd\" login password 'p@s:s/w%o?r#d &=ö'; grant pg_read_all_data to odd;",
    );
    let password = "p@s:s/w%o?r#d &=ö";
    let whole = database
        .url("odd")
        .replace("pw-of-odd", "p%40s%3As%2Fw%25o%3Fr%23d%20%26%3D%C3%B6");
    let part = database
        .url("odd")
        .replace("pw-of-odd", "${SECRET:PASSWORD}");
    for (name, url, given) in [
        ("part", part.as_str(), password),
        ("whole", "${SECRET:PASSWORD}", whole.as_str()),
    ] {
        for (is_right, given) in [
            (true, given.to_owned()),
            (false, given.replace("w%", "wrong%")),
        ] {
            let dir = TestDir::new();
            std::fs::create_dir_all(dir.path().join("secrets/t")).unwrap();
            dir.write("secrets/t/PASSWORD", &given);
            write_job(
                &dir,
                "job",
                &json!({ "connection_string": url, "table": "t" }),
                &json!({}),
            );
            let mut seen = String::new();
            for args in [
                &["plan", "job.yaml", "--secrets", "secrets"][..],
                &["plan", "job.yaml", "--secrets", "secrets", "--json"],
                &["check", "job.yaml", "--secrets", "secrets"],
                &["preview", "job.yaml", "--secrets", "secrets"],
                &["run", "job.yaml", "--secrets", "secrets", "--json"],
                &["run", "job.yaml", "--secrets", "secrets"],
                &["state", "show", "job.yaml", "--secrets", "secrets"],
            ] {
                let output = cli(&dir, args);
                if args[0] == "run" {
                    assert_eq!(output.code == 0, is_right, "{name}: {output:?}");
                }
                seen += &output.stdout;
                seen += &output.stderr;
            }
            if is_right {
                // Two runs were made.
                let twice = "select n, name from t, generate_series(1, 2)";
                check_rows(&dir, &database, "job", twice);
            }
            for file in files_below(dir.path()) {
                if !file.starts_with("secrets") {
                    let bytes = std::fs::read(dir.path().join(&file)).unwrap();
                    seen += &String::from_utf8_lossy(&bytes);
                }
            }
            for leak in ["w%o?r#d", "wrong%o?r#d", "w%25o", "wrong%25o"] {
                assert!(
                    !seen.contains(leak),
                    "{name}, {is_right}: {leak} is in {seen}"
                );
            }
        }
    }
}
