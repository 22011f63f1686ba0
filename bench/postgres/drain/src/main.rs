//! Reads a table over some connections at once and throws the bytes away: no client is faster in the same mode.
//!
//! Knows the headers of messages and nothing of what is in them. Usage: `drain copy|rows|copy-out TABLE STREAMS PORT`,
//! as `by_trust` in the database `bench` on 127.0.0.1: `COPY … (FORMAT BINARY)`, binary rows of the extended protocol,
//! or the former through tokio-postgres, one message at a time. Prints a line of JSON.

use std::io::{Error, Read, Result, Write};
use std::net::TcpStream;

use futures_util::TryStreamExt;

const BUFFER_BYTES: usize = 256 << 10;

/// What came: rows, and their bytes.
#[derive(Default)]
struct Drained {
    rows: u64,
    bytes: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [mode, table, streams, port] = args.as_slice() else {
        return Err(Error::other(
            "usage: drain copy|rows|copy-out TABLE STREAMS PORT",
        ));
    };
    let port = port.parse().map_err(Error::other)?;
    let streams: u64 = streams.parse().map_err(Error::other)?;
    let blocks = blocks(table, port)?;
    let mut running = Vec::new();
    for stream in 0..streams {
        let statement = statement(table, blocks, stream, streams);
        running.push(match mode.as_str() {
            "copy-out" => tokio::spawn(copy_out(statement, port)),
            "copy" => tokio::task::spawn_blocking(move || Connection::open(port)?.copy(&statement)),
            _ => tokio::task::spawn_blocking(move || Connection::open(port)?.rows(&statement)),
        });
    }
    let mut all = Drained::default();
    for stream in running {
        let one = stream.await.map_err(Error::other)??;
        all.rows += one.rows;
        all.bytes += one.bytes;
    }
    println!(r#"{{"rows": {}, "bytes": {}}}"#, all.rows, all.bytes);
    Ok(())
}

fn statement(table: &str, blocks: u64, stream: u64, streams: u64) -> String {
    let (from, to) = (blocks * stream / streams, blocks * (stream + 1) / streams);
    let mut text = format!("SELECT * FROM {table}");
    if streams > 1 {
        text += &format!(" WHERE ctid >= '({from},0)'");
    }
    if stream + 1 < streams {
        text += &format!(" AND ctid < '({to},0)'");
    }
    text
}

fn blocks(table: &str, port: u16) -> Result<u64> {
    let statement = format!("SELECT pg_relation_size('{table}') / 8192");
    let mut connection = Connection::open(port)?;
    connection.send(b'Q', format!("{statement}\0").as_bytes())?;
    connection.flush()?;
    let mut row = Vec::new();
    connection.until_ready(|kind, body| {
        if kind == b'D' {
            row = body.to_vec();
        }
    })?;
    // A row of one field: the number of fields, the field's length, its text.
    let text = row.get(6..).unwrap_or_default();
    String::from_utf8_lossy(text).parse().map_err(Error::other)
}

async fn copy_out(statement: String, port: u16) -> Result<Drained> {
    let config = format!("host=127.0.0.1 port={port} user=by_trust dbname=bench");
    let (client, connection) = tokio_postgres::connect(&config, tokio_postgres::NoTls)
        .await
        .map_err(Error::other)?;
    tokio::spawn(connection);
    let copy = format!("COPY ({statement}) TO STDOUT (FORMAT BINARY)");
    let stream = client.copy_out(&copy).await.map_err(Error::other)?;
    let mut stream = std::pin::pin!(stream);
    let mut drained = Drained::default();
    while let Some(message) = stream.try_next().await.map_err(Error::other)? {
        drained.add(&message);
    }
    Ok(drained)
}

impl Drained {
    fn add(&mut self, body: &[u8]) {
        // The end of a binary COPY is a row of -1 fields in a message of its own.
        self.rows += u64::from(body != [0xff, 0xff]);
        self.bytes += body.len() as u64;
    }
}

/// A connection that sends and skips messages.
struct Connection {
    socket: TcpStream,
    out: Vec<u8>,
    buffer: Vec<u8>,
    filled: usize,
}

impl Connection {
    fn open(port: u16) -> Result<Self> {
        let socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nodelay(true)?;
        let mut connection = Self {
            socket,
            out: Vec::new(),
            buffer: vec![0; BUFFER_BYTES],
            filled: 0,
        };
        let settings = b"\0\x03\0\0user\0by_trust\0database\0bench\0\0";
        connection
            .socket
            .write_all(&(settings.len() as u32 + 4).to_be_bytes())?;
        connection.socket.write_all(settings)?;
        connection.until_ready(|_, _| ())?;
        Ok(connection)
    }

    fn copy(&mut self, statement: &str) -> Result<Drained> {
        let copy = format!("COPY ({statement}) TO STDOUT (FORMAT BINARY)\0");
        self.send(b'Q', copy.as_bytes())?;
        self.drain()
    }

    fn rows(&mut self, statement: &str) -> Result<Drained> {
        self.send(b'P', format!("\0{statement}\0\0\0").as_bytes())?;
        // All results in binary.
        self.send(b'B', b"\0\0\0\0\0\0\0\x01\0\x01")?;
        self.send(b'E', b"\0\0\0\0\0")?;
        self.send(b'S', b"")?;
        self.drain()
    }

    fn drain(&mut self) -> Result<Drained> {
        self.flush()?;
        let mut drained = Drained::default();
        self.until_ready(|kind, body| {
            if kind == b'd' || kind == b'D' {
                drained.add(body);
            }
        })?;
        Ok(drained)
    }

    fn send(&mut self, kind: u8, body: &[u8]) -> Result<()> {
        self.out.push(kind);
        self.out.extend((body.len() as u32 + 4).to_be_bytes());
        self.out.extend(body);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.socket.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    /// Hands over each message, until the server is ready for another statement.
    fn until_ready(&mut self, mut each: impl FnMut(u8, &[u8])) -> Result<()> {
        loop {
            let mut at = 0;
            while let Some(header) = self.buffer[at..self.filled].first_chunk::<5>() {
                let [kind, length @ ..] = *header;
                let length = u32::from_be_bytes(length) as usize + 1;
                if at + length > self.filled {
                    if length > self.buffer.len() {
                        self.buffer.resize(length, 0);
                    }
                    break;
                }
                let body = &self.buffer[at + 5..at + length];
                match kind {
                    b'E' => {
                        return Err(Error::other(
                            String::from_utf8_lossy(body).replace('\0', " "),
                        ));
                    }
                    b'Z' => {
                        self.filled = 0;
                        return Ok(());
                    }
                    _ => each(kind, body),
                }
                at += length;
            }
            self.buffer.copy_within(at..self.filled, 0);
            self.filled -= at;
            match self.socket.read(&mut self.buffer[self.filled..])? {
                0 => return Err(Error::other("the server closed the connection")),
                read => self.filled += read,
            }
        }
    }
}
