//! Components that the program does not carry are compiled in a process with limits.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{TestDir, command, repository, soak};

/// How a child with these limits ends that compiles `bytes`: its exit code, machine code, message and time.
fn compile(
    memory_mib: u64,
    cpu_seconds: u64,
    bytes: &[u8],
) -> (Option<i32>, Vec<u8>, String, Duration) {
    let (begun, limits) = (
        Instant::now(),
        [memory_mib, cpu_seconds].map(|most| most.to_string()),
    );
    let mut child = Command::new(env!("CARGO_BIN_EXE_dativo-wasm"))
        .arg("compile-component")
        .args(limits)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writing = std::thread::spawn(move || input.write_all(&bytes));
    let output = child.wait_with_output().unwrap();
    let _ = writing.join().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    (
        output.status.code(),
        output.stdout,
        message,
        begun.elapsed(),
    )
}

/// LEB128, as WebAssembly writes numbers.
fn leb(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        bytes.push(if value == 0 { low } else { low | 0x80 });
        if value == 0 {
            return bytes;
        }
    }
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [vec![id], leb(content.len()), content.to_vec()].concat()
}

/// A component with so many functions, each as long as one may be, whose operations depend on each other across blocks.
fn bomb(functions: usize) -> Vec<u8> {
    // local.get 0, local.get 1, i32.mul, local.tee 1, if, local.get 1, i32.const 3, i32.add, local.set 0, end
    let step = [
        0x20, 0, 0x20, 1, 0x6c, 0x22, 1, 0x04, 0x40, 0x20, 1, 0x41, 3, 0x6a, 0x21, 0, 0x0b,
    ];
    let body = [&[1, 1, 0x7f][..], &step.repeat(400_000), &[0x20, 0, 0x0b]].concat();
    let body = [leb(body.len()), body].concat();
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, &[1, 0x60, 1, 0x7f, 1, 0x7f]),
        section(3, &[leb(functions), vec![0; functions]].concat()),
        section(10, &[leb(functions), body.repeat(functions)].concat()),
    ]
    .concat();
    [b"\0asm\x0d\0\x01\0".to_vec(), section(1, &module)].concat()
}

#[test]
fn a_connector_is_compiled_and_what_is_none_is_said() {
    let csv = std::fs::read(repository().join("guests/dist/csv.wasm")).unwrap();
    let (code, machine_code, message, _) = compile(1024, 60, &csv);
    assert_eq!((code, message.as_str()), (Some(0), ""));
    assert!(
        machine_code.starts_with(b"\x7fELF"),
        "{} bytes",
        machine_code.len()
    );
    let (code, machine_code, message, _) = compile(1024, 60, b"no component");
    assert_eq!((code, machine_code.len()), (Some(1), 0));
    assert!(!message.is_empty());
}

#[test]
fn what_takes_too_much_ends_with_its_process() {
    let bomb = bomb(2);
    for (memory_mib, cpu_seconds) in [(100, 60), (4096, 1)] {
        let (code, machine_code, message, took) = compile(memory_mib, cpu_seconds, &bomb);
        // By a signal, or since it has no memory to go on with.
        assert!(matches!(code, None | Some(101)), "{code:?}: {message}");
        assert!(
            machine_code.is_empty() && took < Duration::from_secs(60),
            "{took:?}"
        );
    }
}

#[test]
fn a_job_with_a_component_that_never_compiles_says_so() {
    if !soak() {
        return;
    }
    let dir = TestDir::new();
    std::fs::create_dir(dir.path().join("plugins")).unwrap();
    std::fs::write(dir.path().join("plugins/bomb.wasm"), bomb(16)).unwrap();
    dir.write(
        "job.yaml",
        "tenant_id: t\nsource: { reader: { type: custom, implementation: bomb, config: {} } }\n\
         target: { writer: { type: custom, implementation: discard } }\n",
    );
    let output = command(&dir, &["run", "job.yaml", "--json"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("cannot be compiled with 3072 MiB"), "{said}");
}
