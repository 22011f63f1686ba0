//! Parquet modular encryption: which key is for which column, and how a file says so.
//!
//! Source: [Encryption.md](https://github.com/apache/parquet-format/blob/master/Encryption.md) of the format, algorithm
//! `AES_GCM_V1`. Key metadata is the JSON that parquet-java, Spark and pyarrow read (`PKMT1`, internal storage, wrapped
//! once), so that their key tools ask a key service for what is in it. Knows no key service.

use std::sync::Arc;

use arrow::datatypes::Schema;
use parquet::arrow::ArrowSchemaConverter;
use parquet::encryption::encrypt::FileEncryptionProperties;
use serde_json::json;
use zeroize::Zeroizing;

use crate::capabilities::failure::{ErrorKind, Failure, Result};

/// Of one file.
pub struct Encryption {
    pub footer: FileKey,
    /// Columns by their names at the top, and the key of each group.
    pub columns: Vec<(Vec<String>, FileKey)>,
    /// For all columns that no group names, where there are groups. Without groups the footer's key is for all of them.
    pub others: Option<FileKey>,
    /// Whether anyone may read the footer: names, types, numbers of rows. It is signed then.
    pub plaintext_footer: bool,
}

/// A data key of one file. The encoder of the library keeps a copy that it does not overwrite when it is done.
pub struct FileKey {
    pub plain: Zeroizing<Vec<u8>>,
    /// In base64, as the key service wrapped it.
    pub wrapped: String,
    /// The master key.
    pub master: String,
}

impl FileKey {
    fn metadata(&self, is_footer: bool) -> Vec<u8> {
        let mut material = json!({
            "keyMaterialType": "PKMT1",
            "internalStorage": true,
            "isFooterKey": is_footer,
            "masterKeyID": self.master,
            "wrappedDEK": self.wrapped,
            "doubleWrapping": false,
        });
        if is_footer {
            material["kmsInstanceID"] = "DEFAULT".into();
            material["kmsInstanceURL"] = "DEFAULT".into();
        }
        material.to_string().into_bytes()
    }
}

impl Encryption {
    pub fn properties(self, schema: &Schema) -> Result<Arc<FileEncryptionProperties>> {
        let parquet = ArrowSchemaConverter::new()
            .convert(schema)
            .map_err(|error| invalid(error.to_string()))?;
        let mut builder = FileEncryptionProperties::builder(self.footer.plain.to_vec())
            .with_footer_key_metadata(self.footer.metadata(true))
            .with_plaintext_footer(self.plaintext_footer);
        let names = || self.columns.iter().flat_map(|(names, _)| names);
        for (index, name) in names().enumerate() {
            if schema.field_with_name(name).is_err() {
                return Err(invalid(format!(
                    "there is no column `{name}` to encrypt with a key of its own"
                )));
            }
            if names().skip(index + 1).any(|other| other == name) {
                return Err(invalid(format!("column `{name}` is given two keys")));
            }
        }
        if self.columns.is_empty() {
            return builder.build().map_err(|error| invalid(error.to_string()));
        }
        // The library leaves a column without a key unencrypted, where any has one.
        for leaf in parquet.columns() {
            let path = leaf.path();
            let root = path.parts().first().map_or("", String::as_str);
            let group = self
                .columns
                .iter()
                .find(|(names, _)| names.iter().any(|name| name == root));
            let Some(key) = group.map(|(_, key)| key).or(self.others.as_ref()) else {
                return Err(invalid(format!("column `{root}` has no key")));
            };
            builder = builder.with_column_key_and_metadata(
                &path.string(),
                key.plain.to_vec(),
                key.metadata(false),
            );
        }
        builder.build().map_err(|error| invalid(error.to_string()))
    }
}

fn invalid(message: String) -> Failure {
    Failure::new(ErrorKind::InvalidConfig, message)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use arrow::array::{ArrayRef, Int64Array, ListArray, RecordBatch, StringArray};
    use arrow::datatypes::Int32Type;
    use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
    use parquet::encryption::decrypt::{FileDecryptionProperties, KeyRetriever};

    use super::super::Encoder;
    use super::*;

    fn key(byte: u8) -> FileKey {
        FileKey {
            plain: Zeroizing::new(vec![byte; 32]),
            wrapped: format!("wrapped{byte}"),
            master: "arn:key".to_owned(),
        }
    }

    fn batch() -> RecordBatch {
        let lists = [Some(vec![Some(1)]), Some(vec![Some(2), None])];
        let columns: [(&str, ArrayRef); 3] = [
            ("id", Arc::new(Int64Array::from(vec![1, 2]))),
            (
                "name",
                Arc::new(StringArray::from(vec!["PLAINLY", "VISIBLE"])),
            ),
            (
                "tags",
                Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists)),
            ),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn encode(encryption: Encryption) -> Result<Vec<u8>> {
        let batch = batch();
        let options = r#"{"compression": "none"}"#;
        let mut encoder = Encoder::create_encrypted(batch.schema(), options, encryption)?;
        encoder.write(&batch)?;
        encoder.finish()?;
        Ok(encoder.take())
    }

    /// Unwraps what `key` wraps.
    struct Keys(HashMap<String, Vec<u8>>);

    impl KeyRetriever for Keys {
        fn retrieve_key(&self, metadata: &[u8]) -> parquet::errors::Result<Vec<u8>> {
            let material: serde_json::Value = serde_json::from_slice(metadata).unwrap();
            assert_eq!(material["masterKeyID"], "arn:key");
            let wrapped = material["wrappedDEK"].as_str().unwrap();
            let found = self.0.get(wrapped).cloned();
            found.ok_or_else(|| parquet::errors::ParquetError::General("no key".to_owned()))
        }
    }

    fn decode(file: Vec<u8>, keys: &[u8]) -> Result<RecordBatch, String> {
        let pair = |byte: &u8| (format!("wrapped{byte}"), vec![*byte; 32]);
        let keys = Keys(keys.iter().map(pair).collect());
        let properties = FileDecryptionProperties::with_key_retriever(Arc::new(keys))
            .build()
            .map_err(|error| error.to_string())?;
        let options = ArrowReaderOptions::new().with_file_decryption_properties(properties);
        let file = bytes::Bytes::from(file);
        let mut reader = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)
            .and_then(|builder| builder.build())
            .map_err(|error| error.to_string())?;
        let batch = reader.next().unwrap().map_err(|error| error.to_string())?;
        Ok(batch)
    }

    fn contains(file: &[u8], text: &str) -> bool {
        file.windows(text.len())
            .any(|window| window == text.as_bytes())
    }

    #[test]
    fn nothing_is_readable_without_the_keys() {
        let file = encode(Encryption {
            footer: key(1),
            columns: Vec::new(),
            others: None,
            plaintext_footer: false,
        })
        .unwrap();
        assert!(file.starts_with(b"PARE") && file.ends_with(b"PARE"));
        assert!(!contains(&file, "VISIBLE") && !contains(&file, "name"));
        assert_eq!(decode(file.clone(), &[1]).unwrap(), batch());
        assert!(decode(file, &[]).is_err());
    }

    #[test]
    fn columns_have_keys_of_their_own_and_the_others_are_not_left_out() {
        let groups = || {
            vec![
                (vec!["name".to_owned()], key(2)),
                (vec!["tags".to_owned()], key(3)),
            ]
        };
        let file = encode(Encryption {
            footer: key(1),
            columns: groups(),
            others: Some(key(4)),
            plaintext_footer: true,
        })
        .unwrap();
        assert!(file.ends_with(b"PAR1"));
        assert!(!contains(&file, "VISIBLE"));
        assert_eq!(decode(file.clone(), &[1, 2, 3, 4]).unwrap(), batch());
        for missing in [&[1, 3, 4][..], &[1, 2, 4], &[1, 2, 3]] {
            assert!(decode(file.clone(), missing).is_err(), "{missing:?}");
        }
        let without = encode(Encryption {
            footer: key(1),
            columns: groups(),
            others: None,
            plaintext_footer: false,
        });
        assert!(without.unwrap_err().message.contains("`id` has no key"));
    }

    #[test]
    fn a_column_that_is_not_there_or_has_two_keys_is_refused() {
        let refused = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            let encryption = Encryption {
                footer: key(1),
                columns: vec![(names, key(2))],
                others: Some(key(4)),
                plaintext_footer: false,
            };
            encode(encryption).unwrap_err().message
        };
        assert!(refused(&["nmae"]).contains("no column `nmae`"));
        assert!(refused(&["name", "name"]).contains("two keys"));
    }
}
