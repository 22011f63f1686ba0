//! How long it takes to make an instance of a connector and to drop it: what a pool of instances could save at the most.
//!
//! `cargo run --release -p dativo-wasm --example instances [NUMBER]` makes so many of the writer `parquet`, one after the other and with
//! one task for each processor.

use std::error::Error;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use dativo_wasm::component::{Components, Stop, Where};
use dativo_wasm::job::{self, LoadOptions};
use dativo_wasm::pipeline::Ready;
use dativo_wasm::plugins::Plugins;
use dativo_wasm::report;

const JOB: &str = "tenant_id: acme
name: instances
source: { reader: { type: custom, implementation: csv, config: { file_path: rows.csv } } }
target: { writer: { type: custom, implementation: parquet, config: { path: out } } }
";

fn main() -> Result<(), Box<dyn Error>> {
    let number: u32 = std::env::args()
        .nth(1)
        .map_or(Ok(10_000), |number| number.parse())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut file = tempfile::NamedTempFile::with_suffix(".yaml")?;
        file.write_all(JOB.as_bytes())?;
        let components = Components::start(None, Where::Here)?;
        let plugins = Plugins::new("plugins".as_ref());
        let draft = job::load(file.path(), &LoadOptions::default());
        let ready = Ready::new(draft, &components, &plugins).await;
        let ready = Arc::new(ready.map_err(|errors| format!("{errors:?}"))?);
        let tasks = std::thread::available_parallelism()?.get() as u32;
        for tasks in [1, tasks] {
            let began = Instant::now();
            let making: Vec<_> = (0..tasks)
                .map(|_| tokio::spawn(make(ready.clone(), number / tasks)))
                .collect();
            for made in making {
                made.await??;
            }
            let took = began.elapsed().as_secs_f64();
            let made = f64::from(number / tasks * tasks);
            let line = format!(
                "{tasks} at a time: {:.1} µs for each instance, {:.0} a second",
                took * 1e6 / made,
                made / took
            );
            report::result(&line);
        }
        Ok(())
    })
}

async fn make(ready: Arc<Ready>, number: u32) -> dativo_wasm::error::Result<()> {
    for _ in 0..number {
        let name = "instance".to_owned();
        drop(
            ready
                .start(&ready.writer, "run", name, Stop::never())
                .await?,
        );
    }
    Ok(())
}
