//! The command line: one file a verb. Verbs decide nothing; they load, call and hand to `report`.

mod clean;
mod compile;
mod decrypt;
mod discover;
mod inspect;
mod job_verbs;
mod preview;
mod run;
mod schema;
mod serve;
mod state;
mod verify;
mod verify_table;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::component::{Components, Where, compiler};
use crate::decrypt::Request;
use crate::error::{Error, Kind};
use crate::job::LoadOptions;
use crate::pipeline::{Ready, default_parallelism};
use crate::plugins::Plugins;
use crate::report::{self, LogFormat};
use crate::runs::RunStore;

/// Moves data with connectors that nobody has to trust.
#[derive(Debug, Parser)]
#[command(name = "dativo-wasm", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Args)]
struct Options {
    /// Print one JSON object on standard output
    #[arg(long, global = true)]
    json: bool,
    /// How log lines look on standard error
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "text",
        value_name = "FORMAT"
    )]
    log: LogFormat,
    /// The plugins directory: `orders.wasm` in it is the connector `orders`
    #[arg(long, global = true, default_value = "plugins", value_name = "DIR")]
    plugins: PathBuf,
    /// The run store: history, pending commits, leases. `sqlite://PATH` or `postgresql://…` [default: `DATIVO_STATE`, or sqlite://.dativo/state.db]
    #[arg(long, global = true, value_name = "URL")]
    state: Option<String>,
    /// Secrets as files, `DIR/TENANT/NAME`, asked before the environment
    #[arg(long, global = true, value_name = "DIR")]
    secrets: Option<PathBuf>,
    /// What the operator says of tenants, `DIR/TENANT.yaml`: where their tables are kept
    #[arg(long, global = true, default_value = "tenants", value_name = "DIR")]
    tenants: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a job, or every job of a directory, from the state of its last commit
    Run {
        /// A job file, or a directory of `.yaml` files that run one after the other
        job: PathBuf,
        /// How many splits to ask the reader for [default: the job's `parallelism`, or the number of cores]
        #[arg(long, value_name = "N")]
        parallelism: Option<NonZeroU32>,
        /// Where the summary of each run goes as JSON: a file, line by line, or the URL of a webhook
        #[arg(long, value_name = "FILE|URL")]
        summaries: Option<String>,
    },
    /// Run the jobs of a directory when they are due, with an HTTP interface and a page to watch them
    Serve(#[command(flatten)] serve::ServeOptions),
    /// Check a job: its file, its components, its grants, and that source and target answer; reads no rows
    Check { job: PathBuf },
    /// Show what a run would do: splits, grants, the schema and how it fits the contract
    Plan {
        job: PathBuf,
        #[arg(long, value_name = "N")]
        parallelism: Option<NonZeroU32>,
    },
    /// Show the first rows as a table, masked as the contract says; writes nothing
    Preview {
        job: PathBuf,
        /// Rows to show
        #[arg(long, default_value = "10", value_name = "N")]
        rows: u32,
    },
    /// Show what the source of a job holds: tables and views, their keys, columns and estimated rows
    Discover {
        /// A job file; it need not name a table
        job: PathBuf,
    },
    /// Show what a component is: kind, version, config schema, imports
    Inspect {
        /// A `.wasm` file, or the name of a connector
        component: String,
    },
    /// List the connectors that are found, and where
    Plugins,
    /// Show or reset the state of a job
    State {
        #[command(subcommand)]
        verb: StateVerb,
    },
    /// Open a sealed file into a new one, which is there only if every byte of it was verified
    Decrypt {
        /// A sealed file, of format v0 or v1
        source: String,
        /// The file to write; nothing is overwritten
        destination: PathBuf,
        /// The key file that it was sealed under, where that was no key service
        #[arg(long, value_name = "FILE", conflicts_with = "key_id")]
        key_file: Option<String>,
        /// The master key that must have wrapped the file's key: its id, ARN or alias [default: the one that it names]
        #[arg(long, value_name = "KEY")]
        key_id: Option<String>,
        /// Refuse a file that was not sealed for this tenant
        #[arg(long)]
        tenant: Option<String>,
    },
    /// Remove what dead runs of a job left at its target: staged objects that nobody will publish
    Clean { job: PathBuf },
    /// Check that what runs wrote is there, byte for byte
    Verify {
        /// A job that writes to an Iceberg table: its last ten runs. Or the audit record of an encrypted run, as it reports it:
        /// `s3://bucket/prefix/_dativo/TENANT/JOB/audit/RUN.json`
        what: String,
    },
    /// Compiles the component on standard input: what the program starts for those that it does not carry
    #[command(name = compiler::VERB, hide = true)]
    CompileComponent { memory_mib: u64, cpu_seconds: u64 },
    /// Print a JSON Schema, for editors
    Schema {
        #[command(subcommand)]
        what: SchemaOf,
    },
}

#[derive(Debug, Subcommand)]
enum StateVerb {
    /// The state that the target holds, and the last runs
    Show { job: PathBuf },
    /// The next run reads everything again; what was written stays
    Reset { job: PathBuf },
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum SchemaOf {
    /// Of a job file
    Job,
    /// Of an asset contract
    Asset,
}

const DEFAULT_STATE: &str = "sqlite://.dativo/state.db";

/// Errors of a verb: a job file may have several.
type Outcome = Result<(), Vec<Error>>;

/// Runs a verb and returns the exit code.
pub fn execute(cli: Cli) -> u8 {
    report::start_logging(cli.options.log);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    // Guests hold a thread for up to 10 ms at a time: while some do, the system lets the threads of others go first that wake up.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4 * threads + 2)
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(dispatch(cli.verb, &cli.options)),
        Err(error) => Err(vec![
            Error::internal("no threads to run on").caused_by(error),
        ]),
    };
    match outcome {
        Ok(code) => code,
        Err(errors) => {
            if cli.options.json {
                report::json(&report::errors::list_json(&errors));
            }
            report::errors(&errors);
            worst(&errors)
        }
    }
}

async fn dispatch(verb: Verb, options: &Options) -> Result<u8, Vec<Error>> {
    match verb {
        Verb::Run {
            job,
            parallelism,
            summaries,
        } => return run::run(&job, parallelism, summaries.as_deref(), options).await,
        Verb::Serve(serve) => return serve::serve(&serve, options).await,
        Verb::Check { job } => job_verbs::check(&job, options).await,
        Verb::Plan { job, parallelism } => job_verbs::plan(&job, parallelism, options).await,
        Verb::Preview { job, rows } => preview::preview(&job, rows, options).await,
        Verb::Discover { job } => discover::discover(&job, options).await,
        Verb::Inspect { component } => inspect::inspect(&component, options).await,
        Verb::Plugins => inspect::plugins(options).await,
        Verb::State {
            verb: StateVerb::Show { job },
        } => state::show(&job, options).await,
        Verb::State {
            verb: StateVerb::Reset { job },
        } => state::reset(&job, options).await,
        Verb::Decrypt {
            source,
            destination,
            key_file,
            key_id,
            tenant,
        } => {
            let key_id = key_file.map(|file| format!("file:{file}")).or(key_id);
            let request = Request { key_id, tenant };
            decrypt::decrypt(&source, &destination, &request, options).await
        }
        Verb::Verify { what } if what.contains("/_dativo/") || what.contains("://") => {
            verify::verify(&what, options).await
        }
        Verb::Verify { what } => verify_table::verify(Path::new(&what), options).await,
        Verb::CompileComponent {
            memory_mib,
            cpu_seconds,
        } => return Ok(compile::compile(memory_mib, cpu_seconds)),
        Verb::Clean { job } => clean::clean(&job, options).await,
        Verb::Schema {
            what: SchemaOf::Job,
        } => schema::job(),
        Verb::Schema {
            what: SchemaOf::Asset,
        } => schema::asset(),
    }
    .map(|()| 0)
}

/// The exit code of several errors: the one that most needs a look.
fn worst(errors: &[Error]) -> u8 {
    const ORDER: [Kind; 3] = [Kind::CommitUnknown, Kind::Internal, Kind::JobInvalid];
    let first = ORDER
        .iter()
        .find(|kind| errors.iter().any(|error| error.kind() == **kind));
    first
        .copied()
        .or_else(|| errors.first().map(Error::kind))
        .map_or(1, Kind::exit_code)
}

impl Options {
    /// A job that is ready to run, or all that is wrong with it.
    async fn ready(&self, job: &std::path::Path) -> Result<Ready, Vec<Error>> {
        let draft = crate::job::load(job, &self.load_options());
        Ready::new(draft, &self.components()?, &self.plugins()).await
    }

    fn load_options(&self) -> LoadOptions {
        LoadOptions {
            secrets_dir: self.secrets.clone(),
            without_environment: false,
            tenants_dir: Some(self.tenants.clone()),
        }
    }

    fn components(&self) -> Result<Components, Vec<Error>> {
        Components::start(None, Where::Apart).map_err(one)
    }

    fn plugins(&self) -> Plugins {
        Plugins::new(&self.plugins)
    }

    fn store(&self) -> Result<RunStore, Vec<Error>> {
        // A password in a variable is not in the list of processes.
        let of_environment = std::env::var("DATIVO_STATE")
            .ok()
            .filter(|url| !url.is_empty());
        let url = self.state.clone().or(of_environment);
        RunStore::open(url.as_deref().unwrap_or(DEFAULT_STATE)).map_err(one)
    }
}

/// One error as the list that verbs return.
fn one(error: Error) -> Vec<Error> {
    vec![error]
}

/// How many splits to ask for: the flag, the job, the machine.
fn parallelism(flag: Option<NonZeroU32>, job: Option<NonZeroU32>) -> NonZeroU32 {
    flag.or(job).unwrap_or_else(default_parallelism)
}
