//! A job whose components are loaded, whose config is checked and whose grants are decided: all that
//! is needed to make instances. Nothing of the source or target was touched yet.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::places;
use crate::capabilities::{Granted, http, iceberg, kms, object_store, postgres};
use crate::component::{
    Components, Cpu, CpuShare, Dataset, Linked, Loaded, ReaderInstance, Run, Sandbox, Scope, Stop,
    WriterInstance,
};
use crate::contract::Contract;
use crate::error::{Error, Kind, Result};
use crate::job::{self, Draft, Endpoint, Implementation, Job, Limits, Secrets};
use crate::plan::{ComponentPlan, Facts, Plan};
use crate::plugins::Plugins;
use crate::runs::JobKey;
use crate::staging;
use crate::trace::Trace;
use crate::traffic;

/// A job that is ready to run.
pub struct Ready {
    pub job: String,
    pub tenant: String,
    pub plan: Plan,
    pub reader: Side,
    pub writer: Side,
    pub contract: Option<Arc<Contract>>,
    /// Where the rows go that break the contract.
    pub dead_letter: Option<Side>,
    /// As the job asks for it.
    pub parallelism: Option<NonZeroU32>,
    pub limits: Limits,
    /// What its tenant has of the processors.
    pub cpu: Cpu,
    /// What its instances write down of themselves.
    pub trace: Option<Arc<Trace>>,
    pub secrets: Arc<Secrets>,
}

/// One component of a job, with what it gets.
pub struct Side {
    pub component: Loaded,
    /// JSON, with placeholders for secrets.
    pub config: String,
    /// The `path` of its config, where it has one.
    pub path: Option<String>,
    /// What it asked of HTTP.
    http: Option<Arc<http::Usage>>,
    object_store: Option<Arc<object_store::Access>>,
    iceberg: Option<Arc<iceberg::Access>>,
    linked: Linked,
}

impl Ready {
    /// Loads the components of a job, checks their config and decides their grants. Reports the
    /// problems of the job file and of the configs together.
    pub async fn new(
        draft: Draft,
        components: &Components,
        plugins: &Plugins,
    ) -> Result<Self, Vec<Error>> {
        let Draft { job, mut problems } = draft;
        let Some(job) = job else { return Err(problems) };
        let mut sides = Vec::new();
        let endpoints = [&job.source, &job.target];
        for endpoint in endpoints.into_iter().chain(&job.dead_letter) {
            match plugins.resolve(components, endpoint, &job.tenant).await {
                Ok(component) => {
                    problems.extend(foreign(endpoint, &component, &job).err());
                    let checked = endpoint.check_config(&component.description.config_schema);
                    problems.extend(checked.err().into_iter().flatten());
                    sides.push(component);
                }
                Err(error) => problems.push(error),
            }
        }
        let mut sides = sides.into_iter();
        let (Some(reader), Some(writer), dead_letter, true) = (
            sides.next(),
            sides.next(),
            sides.next(),
            problems.is_empty(),
        ) else {
            job::sort(&mut problems);
            return Err(problems);
        };
        let plan = Plan::new(
            &job,
            &facts(&reader),
            &facts(&writer),
            dead_letter.as_ref().map(facts).as_ref(),
        )?;
        places::check(&job, &plan).map_err(|error| vec![error])?;
        let limits = &job.policy.limits;
        traffic::limit(&job.tenant, limits.network_bytes);
        staging::limit(&job.tenant, limits.staged_bytes);
        let cpu = components.cpu(&job.tenant);
        cpu.set(CpuShare {
            weight: limits.weight,
            most: limits.cpu_milli.map(|milli| f64::from(milli) / 1000.0),
        });
        let secrets = Arc::new(job.secrets.clone());
        let reader = Side::new(&job.source, reader, &plan.reader, &job);
        let writer = Side::new(&job.target, writer, &plan.writer, &job);
        let dead_letter = match (&job.dead_letter, dead_letter, &plan.dead_letter) {
            (Some(endpoint), Some(component), Some(plan)) => {
                Side::new(endpoint, component, plan, &job).map(Some)
            }
            _ => Ok(None),
        };
        match (reader, writer, dead_letter) {
            (Ok(reader), Ok(writer), Ok(dead_letter)) => Ok(Self {
                job: job.name,
                tenant: job.tenant,
                plan,
                reader,
                writer,
                contract: job.contract,
                dead_letter,
                parallelism: job.parallelism,
                limits: job.limits,
                cpu,
                trace: None,
                secrets,
            }),
            (reader, writer, dead_letter) => {
                let errors = [reader.err(), writer.err(), dead_letter.err()];
                Err(errors.into_iter().flatten().collect())
            }
        }
    }

    /// What state, history and leases of this job are kept under.
    pub fn key(&self) -> JobKey {
        JobKey {
            tenant: self.tenant.clone(),
            job: self.job.clone(),
        }
    }

    /// What its components ask of HTTP, those that use it.
    pub fn http(&self) -> Vec<Arc<http::Usage>> {
        let sides = [&self.reader, &self.writer]
            .into_iter()
            .chain(&self.dead_letter);
        sides.filter_map(|side| side.http.clone()).collect()
    }

    /// The stores that its target and its dead letter write to.
    pub fn stores(&self) -> impl Iterator<Item = &Arc<object_store::Access>> {
        let sides = [&self.writer].into_iter().chain(&self.dead_letter);
        sides.filter_map(|side| side.object_store.as_ref())
    }

    /// The identity of one run of this job.
    pub fn run(&self, id: &str, base: Option<String>) -> Run {
        Run {
            id: id.to_owned(),
            job: self.job.clone(),
            tenant: self.tenant.clone(),
            base,
            reader: self.reader.component.reference(),
            writer: self.writer.component.reference(),
        }
    }

    pub async fn open_reader(
        &self,
        run_id: &str,
        instance: String,
        state: Option<&str>,
        stop: Stop,
    ) -> Result<ReaderInstance> {
        let sandbox = self.sandbox(run_id, instance, stop);
        ReaderInstance::open(&self.reader.linked, sandbox, &self.reader.config, state).await
    }

    /// What the source holds.
    pub async fn discover(&self, run_id: &str) -> Result<Vec<Dataset>> {
        let sandbox = self.sandbox(run_id, "reader".to_owned(), Stop::never());
        ReaderInstance::discover(&self.reader.linked, sandbox, &self.reader.config).await
    }

    /// Starts an instance of the target's writer, or of the dead letter's.
    pub async fn start(
        &self,
        side: &Side,
        run_id: &str,
        instance: String,
        stop: Stop,
    ) -> Result<WriterInstance> {
        let sandbox = self.sandbox(run_id, instance, stop);
        WriterInstance::start(&side.linked, sandbox).await
    }

    /// The dead letter, where it is the one that the job named as `path`.
    pub fn dead_letter_at(&self, path: &str) -> Option<&Side> {
        let side = self.dead_letter.as_ref()?;
        (side.path.as_deref() == Some(path)).then_some(side)
    }

    fn sandbox(&self, run_id: &str, instance: String, stop: Stop) -> Sandbox {
        Sandbox {
            scope: Scope {
                run_id: run_id.to_owned(),
                job: self.job.clone(),
                tenant: self.tenant.clone(),
                reader: self.reader.component.reference(),
                writer: self.writer.component.reference(),
                instance,
                trace: self.trace.clone(),
                secrets: self.secrets.clone(),
            },
            limits: self.limits.clone(),
            stop,
        }
    }
}

impl Side {
    fn new(
        endpoint: &Endpoint,
        component: Loaded,
        plan: &ComponentPlan,
        job: &Job,
    ) -> Result<Self> {
        let (secrets, tenant) = (&job.secrets, job.tenant.as_str());
        let uses = |name: &str| component.capabilities.iter().any(|used| used == name);
        let object_store = uses("object-store")
            .then(|| object_store::Access::new(plan.targets("object-store"), secrets, &job.aws))
            .transpose()
            .map_err(|error| error.at(endpoint.implementation_location()))?;
        let postgres = uses("postgres")
            .then(|| postgres::Access::new(plan.targets("postgres"), secrets, tenant))
            .transpose()
            .map_err(|error| error.at(endpoint.implementation_location()))?;
        let http = uses("http")
            .then(|| http::Access::new(plan.targets("http"), secrets, tenant, &job.http))
            .transpose()
            .map_err(|error| error.at(endpoint.implementation_location()))?;
        let iceberg = uses("iceberg")
            .then(|| iceberg::Access::new(plan.targets("iceberg"), secrets, &job.aws))
            .transpose()
            .map_err(|error| error.at(endpoint.implementation_location()))?;
        let kms = uses("kms")
            .then(|| kms::Access::new(plan.targets("kms"), secrets, &job.aws))
            .transpose()
            .map_err(|error| error.at(endpoint.implementation_location()))?;
        let usage = http.as_ref().map(|access| access.usage.clone());
        let object_store = object_store.map(Arc::new);
        let iceberg = iceberg.map(Arc::new);
        let granted = Granted {
            http: http.map(Arc::new),
            object_store: object_store.clone(),
            iceberg: iceberg.clone(),
            kms: kms.map(Arc::new),
            postgres: postgres.map(Arc::new),
            files: plan.files().map(Into::into).collect(),
        };
        let linked = component
            .link(granted)
            .map_err(|error| error.at(endpoint.implementation_location()))?;
        Ok(Self {
            component,
            config: endpoint.config.to_string(),
            path: endpoint.config["path"].as_str().map(str::to_owned),
            http: usage,
            object_store,
            iceberg,
            linked,
        })
    }

    /// The tables that it was granted, where it uses any.
    pub fn tables(&self) -> Option<&Arc<iceberg::Access>> {
        self.iceberg.as_ref()
    }
}

/// Fails where the operator does not let the tenant use a component.
fn foreign(endpoint: &Endpoint, component: &Loaded, job: &Job) -> Result<()> {
    let is_path = matches!(endpoint.implementation, Implementation::Path(_));
    if job
        .policy
        .allows(&component.name, &component.digest, is_path)
    {
        return Ok(());
    }
    let message = format!(
        "{} may not be used: the operator's file on the tenant does not name it",
        component.who()
    );
    let hint = format!(
        "ask the operator to add it to `components: [\"{}@sha256:{}\"]` of `tenants/{}.yaml`",
        component.name, component.digest, job.tenant
    );
    Err(Error::new(Kind::GrantMissing, message)
        .at(endpoint.implementation_location())
        .hint(hint))
}

fn facts(component: &Loaded) -> Facts<'_> {
    Facts {
        name: &component.name,
        origin: &component.origin,
        capabilities: &component.capabilities,
        config_schema: &component.description.config_schema,
    }
}
