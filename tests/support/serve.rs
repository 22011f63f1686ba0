//! A process that serves, and what it answers over HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{TestDir, command};

pub struct Serving {
    pub child: Child,
    /// `127.0.0.1:PORT`.
    pub address: String,
    /// The operator's.
    pub token: String,
}

impl Serving {
    /// `dativo-wasm serve` of `dir/jobs`, at a free port.
    pub fn start(dir: &TestDir, more: &[&str]) -> Self {
        Self::start_with(dir, more, &[])
    }

    /// The same, with variables of the environment.
    pub fn start_with(dir: &TestDir, more: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut arguments = vec!["serve", "--jobs", "jobs", "--listen", "127.0.0.1:0"];
        arguments.extend(more);
        let mut child = command(dir, &arguments)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        let url = loop {
            let mut line = String::new();
            assert_ne!(lines.read_line(&mut line).unwrap(), 0, "it ended: {said}");
            said.push_str(&line);
            if let Some((_, url)) = line.split_once("serving at http://") {
                break url.trim().to_owned();
            }
        };
        // Whatever else it says is read, so that it does not wait for a reader.
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                println!("serve: {line}");
            }
        });
        let (address, rest) = url.split_once('/').unwrap();
        Self {
            child,
            address: address.to_owned(),
            token: rest.strip_prefix("#token=").unwrap_or_default().to_owned(),
        }
    }

    /// The status and the body of an answer, as text.
    pub fn raw(&self, method: &str, path: &str, token: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(40)))
            .unwrap();
        let authorization = match token {
            "" => String::new(),
            token => format!("Authorization: Bearer {token}\r\n"),
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{authorization}Content-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.address,
            body.len()
        );
        // It may answer, and close, before it has read all.
        let _ = stream
            .write_all(request.as_bytes())
            .and_then(|()| stream.write_all(body.as_bytes()));
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("{answer}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = match head
            .to_ascii_lowercase()
            .contains("transfer-encoding: chunked")
        {
            true => panic!("a chunked answer"),
            false => body.to_owned(),
        };
        (status, body)
    }

    pub fn ask(&self, method: &str, path: &str, token: &str) -> (u16, Value) {
        let (status, body) = self.raw(method, path, token, "");
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    /// An answer to the operator, which must be there.
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path, &self.token);
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    #[track_caller]
    pub fn post(&self, path: &str) -> Value {
        let (status, body) = self.ask("POST", path, &self.token);
        assert_eq!(status, 202, "{path}: {body}");
        body
    }

    /// Waits until a question is answered as it should be.
    #[track_caller]
    pub fn wait<T>(&self, what: &str, mut ask: impl FnMut(&Self) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = ask(self) {
                return found;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "{what} does not happen"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits for the end of a run, and gives it.
    #[track_caller]
    pub fn ended(&self, run_id: &str) -> Value {
        self.wait("the end of a run", |serving| {
            let run = serving.get(&format!("/api/v1/runs/{run_id}"));
            (run["ended"].is_string() && run["active"].is_null()).then_some(run)
        })
    }

    /// Sends SIGTERM and gives the exit code.
    pub fn terminate(mut self) -> Option<i32> {
        let sent = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        assert!(sent.unwrap().success());
        self.child.wait().unwrap().code()
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
