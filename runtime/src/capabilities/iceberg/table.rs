//! The table that a job writes to: found, made where absent, given the columns that a run needs.
//!
//! Decides nothing about rows.

use std::sync::Arc;

use arrow::datatypes::Schema as ArrowSchema;
use iceberg::spec::{FormatVersion, PartitionSpec, SortOrder, TableMetadata, UnboundPartitionSpec};
use iceberg::{TableRequirement, TableUpdate};

use super::Access;
use super::catalog::{Catalog, CatalogSpec, Commit, Creation, Loaded, TableName};
use super::evolve::evolve;
use super::retry::{self, Retry};
use super::target::{Evolution, Target};
use super::types::table_schema;
use super::warehouse::Warehouse;
use crate::capabilities::failure::{ErrorKind, Failure, Result};

/// A table that a job was granted.
pub struct Table {
    pub target: Target,
    pub name: TableName,
    pub catalog: Catalog,
    access: Arc<Access>,
    /// None where the job names it by a name that its catalog has for it.
    root: Option<Warehouse>,
}

impl Table {
    /// Fails as denied where the job does not grant it. Asks nobody yet.
    pub fn new(access: &Arc<Access>, target: &str) -> Result<Self> {
        let target = Target::parse(target)?;
        access.grant.check(&target)?;
        let mut spec = target.catalog.clone().unwrap_or_default();
        let root = match &mut spec {
            CatalogSpec::Rest { warehouse, .. } => {
                warehouse.get_or_insert_with(|| target.warehouse.clone());
                match target.warehouse.contains("://") {
                    true => Some(access.warehouse(&target.warehouse)?),
                    false => None,
                }
            }
            CatalogSpec::Sql { .. } => Some(access.warehouse(&target.warehouse)?),
        };
        let catalog = Catalog::open(&spec, root.clone(), &access.secrets)?;
        Ok(Self {
            name: target.name(),
            target,
            catalog,
            access: access.clone(),
            root,
        })
    }

    /// The table as its catalog has it now.
    pub async fn load(&self) -> Result<Option<Loaded>> {
        let Some(loaded) = self.catalog.load(&self.name).await? else {
            return Ok(None);
        };
        self.check(&loaded.metadata)?;
        Ok(Some(loaded))
    }

    /// [`Self::load`], for a table that must be there.
    pub async fn reload(&self) -> Result<Loaded> {
        self.load().await?.ok_or_else(|| {
            Failure::new(
                ErrorKind::Rejected,
                format!(
                    "the table `{}` is gone; it was there when the run began",
                    self.name
                ),
            )
            .hint("run the job again: it makes the table and reads everything")
        })
    }

    /// Where the files of the table are.
    pub fn warehouse(&self, metadata: &TableMetadata) -> Result<Warehouse> {
        self.access.warehouse(metadata.location())
    }

    /// The table with columns for `incoming`.
    pub async fn with_columns(&self, incoming: &ArrowSchema) -> Result<Loaded> {
        let mut retry = None;
        loop {
            let loaded = match self.load().await? {
                Some(loaded) => loaded,
                None => match self.create(incoming).await? {
                    Some(created) => created,
                    None => self.reload().await?,
                },
            };
            self.check_layout(&loaded.metadata)?;
            let metadata = &loaded.metadata;
            let schema = metadata.current_schema();
            let Some(evolved) = evolve(schema, metadata.last_column_id(), incoming)? else {
                return Ok(loaded);
            };
            if self.target.schema_evolution == Evolution::Refuse {
                let changes = evolved.changes.join("; ");
                return Err(Failure::new(
                    ErrorKind::Rejected,
                    format!(
                        "the columns of `{}` would have to change: {changes}",
                        self.name
                    ),
                )
                .hint("write `schema_evolution: allow`, or change the table yourself"));
            }
            let requirements = vec![
                TableRequirement::UuidMatch {
                    uuid: metadata.uuid(),
                },
                TableRequirement::CurrentSchemaIdMatch {
                    current_schema_id: metadata.current_schema_id(),
                },
                TableRequirement::LastAssignedFieldIdMatch {
                    last_assigned_field_id: metadata.last_column_id(),
                },
            ];
            let updates = vec![
                TableUpdate::AddSchema {
                    schema: evolved.schema,
                },
                // The one that was added last.
                TableUpdate::SetCurrentSchema { schema_id: -1 },
            ];
            let failure = match self
                .catalog
                .commit(&self.name, &loaded, requirements, updates)
                .await
            {
                Commit::Landed(loaded) => {
                    let (table, changes) = (self.name.to_string(), evolved.changes.join("; "));
                    tracing::info!(table, changes, "the columns of the table were changed");
                    return Ok(loaded);
                }
                Commit::Refused(failure) => return Err(failure),
                // The table says what became of it.
                Commit::Conflict(failure) | Commit::Unknown(failure) => failure,
            };
            let retry = retry.get_or_insert_with(|| Retry::new(metadata.properties()));
            if !retry.wait().await {
                return Err(failure);
            }
        }
    }

    async fn create(&self, incoming: &ArrowSchema) -> Result<Option<Loaded>> {
        let schema = table_schema(incoming)?;
        let spec = self.target.partition_spec(&schema)?;
        let order = self.target.sort_order(&schema)?;
        let location = self
            .root
            .as_ref()
            .filter(|_| !self.catalog.is_server())
            .map(|root| {
                let folders = self.name.namespace.join("/");
                format!("{}/{folders}/{}", root.root(), self.name.table)
            });
        let creation = Creation {
            partition_spec: spec.unwrap_or_else(|| UnboundPartitionSpec::builder().build()),
            sort_order: order.unwrap_or_else(SortOrder::unsorted_order),
            schema,
            properties: retry::properties(),
            location,
        };
        let created = self.catalog.create(&self.name, &creation).await?;
        if let Some(created) = &created {
            self.check(&created.metadata)?;
        }
        Ok(created)
    }

    /// Whether it is a table that this program can write, where the job says that it is.
    fn check(&self, metadata: &TableMetadata) -> Result<()> {
        let rejected = |message: String, hint: &str| {
            Err(Failure::new(
                ErrorKind::Rejected,
                format!("the table `{}` {message}", self.name),
            )
            .hint(hint))
        };
        let version = metadata.format_version();
        if version != FormatVersion::V2 {
            return rejected(
                format!("has the format version {version}; this program writes version 2"),
                "write to another table, or change its `format-version` to 2 where that is an upgrade",
            );
        }
        let location = metadata.location();
        if let Some(root) = &self.root
            && !root.holds(&format!("{location}/metadata"))
        {
            return rejected(
                format!(
                    "lies at `{location}`, which is not in the warehouse `{}`",
                    root.root()
                ),
                "name the warehouse that it is in",
            );
        }
        Ok(())
    }

    /// The table's own partitions and sort order count; what the job says must not differ.
    fn check_layout(&self, metadata: &TableMetadata) -> Result<()> {
        let schema = metadata.current_schema();
        let differs = |key: &str, found: String| {
            Err(Failure::new(
                ErrorKind::Rejected,
                format!("the table `{}` has another `{key}` than the job: {found}", self.name),
            )
            .hint(format!(
                "leave `{key}` out to write the table as it is, or change the table with an engine that rewrites it"
            )))
        };
        if let Some(wanted) = self.target.partition_spec(schema)? {
            let wanted = wanted
                .bind(schema.clone())
                .map_err(super::snapshot::broken)?;
            let found = metadata.default_partition_spec();
            if !is_same_spec(&wanted, found) {
                let fields = found.fields().iter();
                let fields: Vec<_> = fields
                    .map(|field| format!("{} {}", field.transform, field.name))
                    .collect();
                return differs("partition_by", format!("[{}]", fields.join(", ")));
            }
        }
        if let Some(wanted) = self.target.sort_order(schema)? {
            let found = metadata.default_sort_order();
            if wanted.fields != found.fields {
                let fields: Vec<_> = found.fields.iter().map(ToString::to_string).collect();
                return differs("sort_by", format!("[{}]", fields.join(", ")));
            }
        }
        Ok(())
    }
}

fn is_same_spec(wanted: &PartitionSpec, found: &PartitionSpec) -> bool {
    let fields = |spec: &PartitionSpec| {
        let fields = spec.fields().iter();
        fields
            .map(|field| (field.source_id, field.transform))
            .collect::<Vec<_>>()
    };
    fields(wanted) == fields(found)
}
