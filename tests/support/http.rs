//! HTTP servers for the tests of this process: those of `http.sh`, which nobody here wrote, and ones that answer as a test
//! says. They end with this process, however that ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};

use serde_json::Value;

use super::{python_program, repository};

/// The servers of `http.sh`.
pub struct Servers {
    pub folder: PathBuf,
    facts: Value,
    python: PathBuf,
    /// Ends with its standard input.
    _script: Child,
}

/// Those that all tests share; nothing is written to them.
pub fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(Servers::start)
}

impl Servers {
    /// Some for a single test, which may change their records.
    pub fn start() -> Self {
        let environment = python_program();
        let environment = environment.parent().and_then(|bin| bin.parent()).unwrap();
        let installed = PathBuf::from(format!("{}-http", environment.display()));
        let mut command = Command::new(repository().join("tests/support/http.sh"));
        command.arg("run").arg(&installed);
        let mut script = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(script.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let facts: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            panic!("no HTTP servers; what is missing is said above, `make servers` installs it")
        });
        Self {
            folder: PathBuf::from(facts["folder"].as_str().unwrap()),
            facts,
            python: installed.join("python/bin/python"),
            _script: script,
        }
    }

    /// Where a server is: `http://127.0.0.1:PORT/path`.
    pub fn url(&self, server: &str, path: &str) -> String {
        format!(
            "http://127.0.0.1:{}{path}",
            self.facts[server].as_u64().unwrap()
        )
    }

    /// Changes the records of datasette, in SQL.
    pub fn sql(&self, statements: &str) {
        let script = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(sys.argv[2])";
        let data = self.folder.join("data.db");
        let status = Command::new(&self.python)
            .args(["-c", script])
            .arg(data)
            .arg(statements)
            .status();
        assert!(status.unwrap().success(), "{statements}");
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    pub text: String,
    pub path: String,
    pub query: Vec<(String, String)>,
}

impl Received {
    fn new(text: String) -> Self {
        let target = text.split(' ').nth(1).unwrap_or_default().to_owned();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let query = url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        Self {
            path: path.to_owned(),
            query,
            text,
        }
    }

    /// A query parameter.
    pub fn param(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn number(&self, name: &str) -> u64 {
        self.param(name).unwrap_or("0").parse().unwrap()
    }
}

/// A server that answers what `answer` says, as bytes that go over the wire; each request on a connection of its own.
pub struct Scripted {
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Scripted {
    pub fn start(answer: impl Fn(&Received, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (Arc::clone(&received), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                std::thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    let request = Received::new(read_request(&mut stream));
                    seen.lock().unwrap().push(request.clone());
                    answer(&request, &mut stream);
                });
            }
        });
        Self { address, received }
    }

    /// One that answers 200 with JSON.
    pub fn json(answer: impl Fn(&Received) -> Value + Send + Sync + 'static) -> Self {
        Self::start(move |request, stream| send(stream, "200 OK", "", &answer(request).to_string()))
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

/// A whole answer. Who does not read it does not matter.
pub fn send(stream: &mut TcpStream, status: &str, headers: &str, body: &str) {
    let head = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    );
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body.as_bytes()));
}

fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_lowercase()
                    .strip_prefix("content-length: ")?
                    .parse()
                    .ok()
            });
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
