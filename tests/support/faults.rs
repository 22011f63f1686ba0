//! A proxy between a program and SeaweedFS that does to requests of S3, and of the Iceberg REST catalog, what networks and
//! busy services do.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::aws;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An error in place of an answer; the server hears nothing.
    Status(u16, &'static str),
    /// The connection ends; the server hears nothing.
    Cut,
    /// The server does it, and the answer is an error.
    DoneButStatus(u16, &'static str),
    /// The server does it, and the connection ends.
    DoneButCut,
    /// The answer ends within its body.
    HalfAnswer,
    /// The server hears it two seconds late.
    Slow,
    /// The request is kept, and nothing answers it; the server hears nothing.
    Silence,
}

/// What to do to the requests of one operation of S3, from the `first` one on (counted from 1), `times` times.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    pub operation: &'static str,
    pub first: u32,
    pub times: u32,
    pub fault: Fault,
}

pub struct Proxy {
    port: u16,
    seen: Arc<Mutex<Vec<&'static str>>>,
    applied: Arc<Mutex<u32>>,
    kept: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Proxy {
    /// In front of S3. It lives as long as the process.
    pub fn start(rules: &[Rule]) -> Self {
        Self::start_before("seaweedfs", rules)
    }

    /// In front of one of the servers of `aws.sh`.
    pub fn start_before(server: &'static str, rules: &[Rule]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            seen: Arc::default(),
            applied: Arc::default(),
            kept: Arc::default(),
        };
        let (rules, seen, applied) = (rules.to_vec(), proxy.seen.clone(), proxy.applied.clone());
        let kept = proxy.kept.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (rules, seen, applied) = (rules.clone(), seen.clone(), applied.clone());
                let kept = kept.clone();
                std::thread::spawn(move || serve(client, server, &rules, &seen, &applied, &kept));
            }
        });
        proxy
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Bodies of the requests that nothing answered.
    pub fn kept(&self) -> Vec<Vec<u8>> {
        self.kept.lock().unwrap().clone()
    }

    /// How often a rule was applied.
    pub fn applied(&self) -> u32 {
        *self.applied.lock().unwrap()
    }
}

fn serve(
    mut client: TcpStream,
    server: &str,
    rules: &[Rule],
    seen: &Mutex<Vec<&'static str>>,
    applied: &Mutex<u32>,
    kept: &Mutex<Vec<Vec<u8>>>,
) -> Option<()> {
    client
        .set_read_timeout(Some(Duration::from_secs(120)))
        .ok()?;
    let (head, body) = read_request(&mut client)?;
    let operation = operation(&head);
    let count = {
        let mut seen = seen.lock().unwrap();
        seen.push(operation);
        u32::try_from(seen.iter().filter(|name| **name == operation).count()).unwrap()
    };
    let rule = rules.iter().find(|rule| {
        rule.operation == operation && (rule.first..rule.first + rule.times).contains(&count)
    });
    let fault = rule.map(|rule| rule.fault);
    if fault.is_some() {
        *applied.lock().unwrap() += 1;
    }
    match fault {
        Some(Fault::Cut) => return None,
        Some(Fault::Silence) => {
            kept.lock().unwrap().push(body);
            std::thread::sleep(Duration::from_secs(120));
            return None;
        }
        Some(Fault::Status(status, code)) => return answer(&mut client, status, code),
        _ => {}
    }
    if fault == Some(Fault::Slow) {
        std::thread::sleep(Duration::from_secs(2));
    }
    let mut response = forward(server, &head, &body)?;
    match fault {
        Some(Fault::DoneButCut) => None,
        Some(Fault::DoneButStatus(status, code)) => answer(&mut client, status, code),
        Some(Fault::HalfAnswer) => {
            let start = find(&response, b"\r\n\r\n")? + 4;
            response.truncate(start + (response.len() - start) / 2);
            client.write_all(&response).ok()
        }
        _ => client.write_all(&response).ok(),
    }
}

fn answer(client: &mut TcpStream, status: u16, code: &str) -> Option<()> {
    let body = format!("<Error><Code>{code}</Code><Message>as the test says</Message></Error>");
    let text = format!(
        "HTTP/1.1 {status} x\r\ncontent-type: application/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    client.write_all(text.as_bytes()).ok()
}

/// The head with its last empty line, and the body.
fn read_request(client: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut block = vec![0; 64 << 10];
    let end = loop {
        if let Some(at) = find(&bytes, b"\r\n\r\n") {
            break at + 4;
        }
        match client.read(&mut block).ok()? {
            0 => return None,
            read => bytes.extend_from_slice(&block[..read]),
        }
    };
    let body = bytes.split_off(end);
    let head = String::from_utf8(bytes).ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = body;
    let missing = length.unwrap_or(0).saturating_sub(body.len());
    let mut rest = vec![0; missing];
    client.read_exact(&mut rest).ok()?;
    body.extend(rest);
    Some((head, body))
}

/// One connection for each request. The client's own headers are signed and stay as they are.
fn forward(server: &str, head: &str, body: &[u8]) -> Option<Vec<u8>> {
    let endpoint = aws::servers().endpoint(server);
    let mut server = TcpStream::connect(endpoint.strip_prefix("http://")?).ok()?;
    let head = head.strip_suffix("\r\n")?;
    server
        .write_all(format!("{head}connection: close\r\n\r\n").as_bytes())
        .ok()?;
    server.write_all(body).ok()?;
    let mut response = Vec::new();
    server.read_to_end(&mut response).ok()?;
    Some(response)
}

fn operation(head: &str) -> &'static str {
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let has = |name: &str| {
        query
            .split('&')
            .any(|pair| pair.split('=').next() == Some(name))
    };
    if let Some(path) = target.strip_prefix("/v1/") {
        let path = path.split('?').next().unwrap_or(path);
        return match (method, path.rsplit('/').nth(1), path.ends_with("/tables")) {
            ("POST", Some("tables"), _) => "CommitTable",
            ("POST", _, true) => "CreateTable",
            ("GET", Some("tables"), _) => "LoadTable",
            _ => "other",
        };
    }
    match method {
        "POST" if has("uploads") => "CreateMultipartUpload",
        "POST" if has("uploadId") => "CompleteMultipartUpload",
        "PUT" if has("partNumber") => "UploadPart",
        "PUT" => "PutObject",
        "DELETE" if has("uploadId") => "AbortMultipartUpload",
        "DELETE" => "DeleteObject",
        "GET" if has("uploads") => "ListMultipartUploads",
        "GET" if has("list-type") => "ListObjects",
        "GET" => "GetObject",
        "HEAD" => "HeadObject",
        _ => "other",
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
