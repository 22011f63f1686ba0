//! A job whose components are loaded, whose config is checked and whose grants are decided: all that
//! is needed to make instances. Nothing of the source or target was touched yet.

use std::num::NonZeroU32;
use std::sync::Arc;

use crate::capabilities::{Granted, object_store};
use crate::component::{
    Components, Linked, Loaded, ReaderInstance, Run, Sandbox, Scope, Stop, WriterInstance,
};
use crate::error::{Error, Result};
use crate::job::{self, Draft, Endpoint, Limits, Secrets};
use crate::plan::{ComponentPlan, Facts, Plan};
use crate::plugins::Plugins;
use crate::runs::JobKey;

/// A job that is ready to run.
pub struct Ready {
    pub job: String,
    pub tenant: String,
    pub plan: Plan,
    pub reader: Side,
    pub writer: Side,
    /// As the job asks for it.
    pub parallelism: Option<NonZeroU32>,
    pub limits: Limits,
    pub secrets: Arc<Secrets>,
}

/// One component of a job, with what it gets.
pub struct Side {
    pub component: Loaded,
    /// JSON, with placeholders for secrets.
    pub config: String,
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
        for endpoint in [&job.source, &job.target] {
            match plugins.resolve(components, endpoint).await {
                Ok(component) => {
                    let checked = endpoint.check_config(&component.description.config_schema);
                    problems.extend(checked.err().into_iter().flatten());
                    sides.push(component);
                }
                Err(error) => problems.push(error),
            }
        }
        let (2, Some(writer), Some(reader), true) =
            (sides.len(), sides.pop(), sides.pop(), problems.is_empty())
        else {
            job::sort(&mut problems);
            return Err(problems);
        };
        let plan = Plan::new(&job, &facts(&reader), &facts(&writer))?;
        let secrets = Arc::new(job.secrets.clone());
        let reader = Side::new(&job.source, reader, &plan.reader, &secrets);
        let writer = Side::new(&job.target, writer, &plan.writer, &secrets);
        match (reader, writer) {
            (Ok(reader), Ok(writer)) => Ok(Self {
                job: job.name,
                tenant: job.tenant,
                plan,
                reader,
                writer,
                parallelism: job.parallelism,
                limits: job.limits,
                secrets,
            }),
            (reader, writer) => Err([reader.err(), writer.err()].into_iter().flatten().collect()),
        }
    }

    /// What state, history and leases of this job are kept under.
    pub fn key(&self) -> JobKey {
        JobKey {
            tenant: self.tenant.clone(),
            job: self.job.clone(),
        }
    }

    /// The identity of one run of this job.
    pub fn run(&self, id: &str, base: Option<String>) -> Run {
        Run {
            id: id.to_owned(),
            job: self.job.clone(),
            tenant: self.tenant.clone(),
            base,
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

    pub async fn start_writer(
        &self,
        run_id: &str,
        instance: String,
        stop: Stop,
    ) -> Result<WriterInstance> {
        let sandbox = self.sandbox(run_id, instance, stop);
        WriterInstance::start(&self.writer.linked, sandbox).await
    }

    fn sandbox(&self, run_id: &str, instance: String, stop: Stop) -> Sandbox {
        Sandbox {
            scope: Scope {
                run_id: run_id.to_owned(),
                job: self.job.clone(),
                tenant: self.tenant.clone(),
                instance,
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
        secrets: &Secrets,
    ) -> Result<Self> {
        let uses = |name: &str| component.capabilities.iter().any(|used| used == name);
        let object_store = uses("object-store")
            .then(|| object_store::Access::new(plan.targets("object-store"), secrets))
            .transpose()
            .map_err(|error| error.at(endpoint.implementation_location()))?;
        let granted = Granted {
            object_store: object_store.map(Arc::new),
            files: plan.files().map(Into::into).collect(),
        };
        let linked = component
            .link(granted)
            .map_err(|error| error.at(endpoint.implementation_location()))?;
        Ok(Self {
            component,
            config: endpoint.config.to_string(),
            linked,
        })
    }
}

fn facts(component: &Loaded) -> Facts<'_> {
    Facts {
        name: &component.name,
        origin: &component.origin,
        capabilities: &component.capabilities,
        config_schema: &component.description.config_schema,
    }
}
