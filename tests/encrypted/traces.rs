//! What a run that encrypts leaves behind: no plaintext on a disk, no data key in memory.

use std::process::Command;

use super::{Bench, MARKER, contains};
use crate::support::aws::servers;
use crate::support::faults::{Fault, Proxy, Rule};

/// In a mount namespace in which only a small tmpfs can be written to.
#[test]
fn no_plaintext_touches_a_disk() {
    for format in ["v0", "v1", "parquet"] {
        let bench = Bench::new(format, 30_000);
        let job = std::fs::read_to_string(bench.dir.path().join("job.yaml")).unwrap();
        let data = bench.dir.path().join("data.csv");
        let job = job.replace(
            "file_path: data.csv",
            &format!("file_path: {}", data.display()),
        );
        bench.dir.write("job.yaml", &job);
        let only = bench.dir.path().join("only");
        std::fs::create_dir(&only).unwrap();
        let script = r#"
            mount --make-rprivate /
            mount -t tmpfs -o size=64m tmpfs "$1"
            while read -r _ place _; do
              case $place in "$1"|/proc*|/sys*|/dev*) ;; *) mount -o remount,bind,ro "$place" 2>/dev/null || true ;; esac
            done < /proc/mounts
            if touch "$1/../x" 2>/dev/null || touch /tmp/x 2>/dev/null; then echo "not read-only" >&2; exit 9; fi
            cd "$1"
            export HOME=$1 XDG_CACHE_HOME=$1/cache TMPDIR=$1
            "$2" run ../job.yaml >&2
            find . -type f -size +0 | wc -l
            grep -rlaF -e "$3" -e PAR1 -- . || true"#;
        let mut command = Command::new("unshare");
        if !is_root() {
            command.arg("--map-root-user");
        }
        let output = command
            .args(["--mount", "bash", "-euc", script, "bash"])
            .args([
                only.to_str().unwrap(),
                env!("CARGO_BIN_EXE_dativo-wasm"),
                MARKER,
            ])
            .envs(servers().environment("moto"))
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        let text = String::from_utf8(output.stdout).unwrap();
        let mut lines = text.lines();
        // The run store and the compiled components are there, so the search saw what a run writes.
        assert!(
            lines.next().unwrap().trim().parse::<u32>().unwrap() >= 3,
            "{text}"
        );
        // A compiled component knows the magic of Parquet by heart; it knows no data.
        let found: Vec<&str> = lines.filter(|file| !file.starts_with("./cache/")).collect();
        assert_eq!(found, Vec::<&str>::new(), "{format}");
        match format {
            "v0" => drop(bench.check("seed", format)),
            "parquet" => drop(bench.check("modular", format)),
            _ => {}
        }
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout.trim_ascii() == b"0"
}

/// While the first part of a sealed file is on its way, all memory of the process is searched for the file's data key.
#[test]
fn the_data_key_of_a_sealed_file_is_not_left_in_memory() {
    let rule = Rule {
        operation: "UploadPart",
        first: 1,
        times: 1_000,
        fault: Fault::Silence,
    };
    let proxy = Proxy::start(&[rule]);
    let bench = Bench::new("v0", 1_000);
    let mut command = bench.command(&["run", "job.yaml"]);
    command.env("AWS_ENDPOINT_URL_S3", proxy.endpoint());
    let mut child = command.spawn().unwrap();
    let start = std::time::Instant::now();
    while proxy.kept().is_empty() {
        assert!(start.elapsed().as_secs() < 60 && child.try_wait().unwrap().is_none());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let head = proxy.kept()[0].clone();
    let length = u32::from_be_bytes(head[12..16].try_into().unwrap()) as usize;
    let wrapped = &head[16..16 + length];
    let script = "print(kms.decrypt(CiphertextBlob=bytes.fromhex(sys.argv[1]))['Plaintext'].hex())";
    let hex: String = wrapped.iter().map(|byte| format!("{byte:02x}")).collect();
    let key = servers().python("moto", script, &[&hex]);
    let key: Vec<u8> = (0..32)
        .map(|i| u8::from_str_radix(&key[2 * i..2 * i + 2], 16).unwrap())
        .collect();
    let memory = memory_of(child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(contains(&memory, wrapped), "the search finds nothing");
    assert!(!contains(&memory, &key[..16]) && !contains(&memory, &key[16..]));
}

/// All that a process can write to.
fn memory_of(process: u32) -> Vec<u8> {
    use std::io::{Read, Seek, SeekFrom};
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let mut memory = std::fs::File::open(format!("/proc/{process}/mem")).unwrap();
    let mut found = Vec::new();
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (range, _) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
        let mut bytes = vec![0; (end - start) as usize];
        memory.seek(SeekFrom::Start(start)).unwrap();
        if memory.read_exact(&mut bytes).is_ok() {
            found.extend(bytes);
        }
    }
    found
}
