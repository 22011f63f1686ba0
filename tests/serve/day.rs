//! A day of many scheduled jobs, which passes in a minute: real runs by the real loop, and only its clock is fast.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dativo_wasm::component::{Components, Stop, Where};
use dativo_wasm::job::LoadOptions;
use dativo_wasm::plugins::Plugins;
use dativo_wasm::runs::{Filter, RunStore};
use dativo_wasm::serve::{Capacity, Clock, Server, Settings};
use dativo_wasm::telemetry::Telemetry;

use crate::support::{TestDir, soak};

#[test]
fn in_a_day_of_many_small_jobs_each_runs_whenever_it_is_due() {
    // Jobs, tenants, and seconds that pass in one: a tenth of the jobs run six times a day.
    let (jobs, tenants, speed) = if soak() {
        (10_000, 1_000, 480)
    } else {
        (150, 15, 4_320)
    };
    let dir = TestDir::new();
    let rows = dir.write("rows.csv", "id\n1\n2\n3\n");
    let mut expected = HashMap::new();
    for n in 0..jobs {
        let tenant = format!("t{}", n % tenants);
        let folder = dir.path().join("jobs").join(&tenant);
        std::fs::create_dir_all(&folder).unwrap();
        // Away from midnight, where the clock begins, and the first look at all files takes a while.
        let (interval, times) = match n % 10 {
            0 => (format!("{} 4,7,10,13,16,19 * * *", n % 60), 6),
            _ => (format!("{} {} * * *", n % 60, 4 + n % 18), 1),
        };
        let text = format!(
            "tenant_id: {tenant}\nname: job-{n}\nschedule: {{ interval: \"{interval}\", overlap: queue }}\nparallelism: 1\n\
             limits: {{ memory: 32MiB }}\n\
             source: {{ reader: {{ type: custom, implementation: csv, config: {{ file_path: \"{}\" }} }} }}\n\
             target: {{ writer: {{ type: custom, implementation: discard }} }}\n",
            rows.display()
        );
        std::fs::write(folder.join(format!("{n}.yaml")), text).unwrap();
        expected.insert(format!("job-{n}"), times);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let store = RunStore::open(&format!("sqlite://{}/state.db", dir.path().display())).unwrap();
    let kept = store.clone();
    runtime.block_on(async move {
        let settings = Settings {
            jobs: dir.path().join("jobs"),
            options: LoadOptions::default(),
            plugins: Plugins::new(&dir.path().join("plugins")),
            capacity: Capacity {
                runs: 16,
                memory_bytes: 8 << 30,
            },
            clock: Clock::fast("2026-11-30T00:00:00Z".parse().unwrap(), speed),
            history: None,
            drain: Duration::from_secs(60),
        };
        let components = Components::start(None, Where::Here).unwrap();
        let server = Arc::new(Server::new(
            settings,
            store,
            components,
            Telemetry::default(),
        ));
        server.start().await.unwrap();
        let (switch, stop) = Stop::switch();
        let running = tokio::spawn({
            let server = server.clone();
            async move { server.run(stop, Stop::never()).await }
        });
        tokio::time::sleep(Duration::from_secs(86_400 / u64::from(speed))).await;
        switch.send_replace(true);
        running.await.unwrap();
    });
    let mut found: HashMap<String, u32> = HashMap::new();
    let mut filter = Filter::default();
    loop {
        let page = kept.list(&filter, 500).unwrap();
        let Some(last) = page.last() else { break };
        filter.before = Some(last.place);
        for run in page {
            assert!(
                ["committed", "empty"].contains(&run.row.status.as_str()),
                "{run:?}"
            );
            assert_eq!(run.cause.as_deref(), Some("schedule"));
            *found.entry(run.row.job).or_default() += 1;
        }
    }
    let differ = expected
        .iter()
        .filter(|(job, times)| found.get(*job) != Some(times));
    let differ: Vec<_> = differ
        .map(|(job, times)| (job, times, found.get(job)))
        .collect();
    assert!(
        differ.is_empty(),
        "{} jobs, such as {:?}",
        differ.len(),
        &differ[..differ.len().min(5)]
    );
    assert_eq!(found.len(), expected.len());
}
