//! Tables of a database catalog: the metadata file is written here, and the database says which one counts.
//!
//! Knows neither SQL nor files: `pointers.rs` has the rows, the warehouse the objects.

use std::io::{Read as _, Write as _};
use std::str::FromStr as _;
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use iceberg::compression::CompressionCodec;
use iceberg::spec::{FormatVersion, TableMetadata, TableMetadataBuilder};
use iceberg::{MetadataLocation, TableRequirement, TableUpdate};

use super::pointers::{Pointers, Row, Written};
use super::{Commit, Creation, Loaded, TableName};
use crate::capabilities::blocking::blocking;
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::capabilities::iceberg::warehouse::{MAX_READ_BYTES, Warehouse};
use crate::job::Secrets;

const FORMAT_VERSION: &str = "format-version";
const DELETE_AFTER_COMMIT: &str = "write.metadata.delete-after-commit.enabled";

pub struct Sql {
    /// The name of the catalog, which stands in every row.
    name: String,
    pointers: Pointers,
    warehouse: Warehouse,
}

impl Sql {
    pub fn open(uri: &str, name: &str, warehouse: Warehouse, secrets: &Secrets) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            pointers: Pointers::open(uri, secrets)?,
            warehouse,
        })
    }

    pub async fn load(&self, name: &TableName) -> Result<Option<Loaded>> {
        let Some(location) = self.pointers.get(&Row::new(&self.name, name)).await? else {
            return Ok(None);
        };
        let bytes = self.warehouse.read(&location).await.map_err(|failure| {
            let message = format!("the metadata of `{name}`: {}", failure.message);
            Failure { message, ..failure }
        })?;
        let metadata = blocking(move || Ok(decode(&bytes))).await?.map_err(|why| {
            Failure::new(
                ErrorKind::InvalidData,
                format!("the metadata of `{name}` in `{location}` cannot be read: {why}"),
            )
            .hint("restore the file, or point the catalog to an older one")
        })?;
        Ok(Some(Loaded {
            metadata: Arc::new(metadata),
            metadata_location: location,
        }))
    }

    pub async fn create(&self, name: &TableName, creation: &Creation) -> Result<Option<Loaded>> {
        let row = Row::new(&self.name, name);
        if self.pointers.get(&row).await?.is_some() {
            return Ok(None);
        }
        let location = match &creation.location {
            Some(location) => location.trim_end_matches('/').to_owned(),
            None => format!("{}/{}/{}", self.warehouse.root(), row.namespace, row.table),
        };
        let metadata = first_metadata(creation, &location).map_err(|error| {
            let message = format!("`{name}` cannot be made: {}", error.message());
            Failure::new(ErrorKind::InvalidData, message)
                .hint("check the columns, the partitions and the properties of the table")
        })?;
        let place = MetadataLocation::new_with_metadata(&location, &metadata);
        let loaded = self.write(metadata, &place).await?;
        let url = &loaded.metadata_location;
        match self.pointers.insert(&row, url).await {
            Written::Done => Ok(Some(loaded)),
            Written::Lost => {
                self.discard(url).await;
                Ok(None)
            }
            Written::Failed(failure) => {
                self.discard(url).await;
                Err(failure)
            }
            // The name of the metadata file is ours alone, so the row tells who made the table.
            Written::Unknown(failure) => match self.pointers.get(&row).await? {
                Some(found) if &found == url => Ok(Some(loaded)),
                Some(_) => {
                    self.discard(url).await;
                    Ok(None)
                }
                None => Err(failure),
            },
        }
    }

    pub async fn commit(
        &self,
        name: &TableName,
        base: &Loaded,
        requirements: &[TableRequirement],
        updates: Vec<TableUpdate>,
    ) -> Commit {
        let unmet = requirements
            .iter()
            .find_map(|requirement| requirement.check(Some(&base.metadata)).err());
        if let Some(error) = unmet {
            return Commit::Conflict(conflict(name, error.message()));
        }
        let changed = match changed(base, updates) {
            Ok(changed) => changed,
            Err(error) => {
                let message = format!("`{name}` cannot be changed so: {}", error.message());
                return Commit::Refused(Failure::new(ErrorKind::InvalidData, message));
            }
        };
        let expired = changed.expired_metadata_logs;
        let place = next_place(base, &changed.metadata);
        let loaded = match self.write(changed.metadata, &place).await {
            Ok(loaded) => loaded,
            Err(failure) => return Commit::Refused(failure),
        };
        let (row, url) = (Row::new(&self.name, name), &loaded.metadata_location);
        match self.pointers.swap(&row, &base.metadata_location, url).await {
            Written::Done => {
                let properties = loaded.metadata.properties();
                if properties
                    .get(DELETE_AFTER_COMMIT)
                    .is_some_and(|text| text == "true")
                {
                    for old in expired {
                        self.discard(&old.metadata_file).await;
                    }
                }
                Commit::Landed(loaded)
            }
            Written::Lost => {
                self.discard(url).await;
                Commit::Conflict(conflict(name, "another commit came first"))
            }
            Written::Failed(failure) => {
                self.discard(url).await;
                Commit::Refused(failure)
            }
            Written::Unknown(failure) => Commit::Unknown(failure),
        }
    }

    async fn write(&self, metadata: TableMetadata, place: &MetadataLocation) -> Result<Loaded> {
        let (metadata, url) = (Arc::new(metadata), place.to_string());
        let (shared, codec) = (metadata.clone(), place.compression_codec());
        let bytes = blocking(move || Ok(encode(&shared, codec)))
            .await?
            .map_err(|why| {
                Failure::new(
                    ErrorKind::Internal,
                    format!("no metadata for `{url}`: {why}"),
                )
            });
        let url = place.to_string();
        if let Err(failure) = self.warehouse.write_new(&url, bytes?).await {
            // The name is ours alone: what is there, if anything, is of this write.
            self.discard(&url).await;
            return Err(failure);
        }
        Ok(Loaded {
            metadata,
            metadata_location: url,
        })
    }

    /// A file that stays is in nobody's way.
    async fn discard(&self, url: &str) {
        if let Err(failure) = self.warehouse.remove(url).await {
            tracing::debug!("a metadata file without use stays: {failure}");
        }
    }
}

fn first_metadata(creation: &Creation, location: &str) -> iceberg::Result<TableMetadata> {
    let mut properties = creation.properties.clone();
    let version = match properties.remove(FORMAT_VERSION).as_deref() {
        None | Some("2") => FormatVersion::V2,
        Some("1") => FormatVersion::V1,
        Some("3") => FormatVersion::V3,
        Some(other) => {
            let message = format!("`{FORMAT_VERSION}` `{other}` is not known");
            return Err(iceberg::Error::new(
                iceberg::ErrorKind::DataInvalid,
                message,
            ));
        }
    };
    let built = TableMetadataBuilder::new(
        creation.schema.clone(),
        creation.partition_spec.clone(),
        creation.sort_order.clone(),
        location.to_owned(),
        version,
        properties,
    )?;
    Ok(built.build()?.metadata)
}

fn changed(
    base: &Loaded,
    updates: Vec<TableUpdate>,
) -> iceberg::Result<iceberg::spec::TableMetadataBuildResult> {
    let metadata = TableMetadata::clone(&base.metadata);
    let mut builder = metadata.into_builder(Some(base.metadata_location.clone()));
    for update in updates {
        builder = update.apply(builder)?;
    }
    builder.build()
}

/// The name of the metadata file after that of `base`, whose name may be of a program that counts otherwise.
fn next_place(base: &Loaded, metadata: &TableMetadata) -> MetadataLocation {
    match MetadataLocation::from_str(&base.metadata_location) {
        Ok(place) => place.with_next_version().with_new_metadata(metadata),
        Err(_) => {
            MetadataLocation::new_with_metadata(metadata.location(), metadata).with_next_version()
        }
    }
}

fn encode(metadata: &TableMetadata, codec: CompressionCodec) -> std::io::Result<Bytes> {
    let text = serde_json::to_vec(metadata)?;
    if !matches!(codec, CompressionCodec::Gzip(_)) {
        return Ok(text.into());
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&text)?;
    Ok(encoder.finish()?.into())
}

fn decode(bytes: &[u8]) -> std::io::Result<TableMetadata> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(serde_json::from_slice(bytes)?);
    }
    let mut text = Vec::new();
    GzDecoder::new(bytes)
        .take(MAX_READ_BYTES)
        .read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

fn conflict(name: &TableName, why: &str) -> Failure {
    Failure::new(
        ErrorKind::Unavailable,
        format!("the commit to `{name}` met another: {why}"),
    )
    .hint("run the job again; let fewer jobs write to the table at the same time")
}
