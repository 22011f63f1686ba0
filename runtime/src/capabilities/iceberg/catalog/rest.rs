//! stub
use super::{CatalogSpec, Commit, Creation, Loaded, TableName};
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::job::Secrets;
use iceberg::{TableRequirement, TableUpdate};
pub struct Rest;
impl Rest {
    pub fn open(_: &CatalogSpec, _: &Secrets) -> Result<Self> {
        Err(Failure::new(ErrorKind::Internal, "stub"))
    }
    pub async fn load(&self, _: &TableName) -> Result<Option<Loaded>> {
        Err(Failure::new(ErrorKind::Internal, "stub"))
    }
    pub async fn create(&self, _: &TableName, _: &Creation) -> Result<Option<Loaded>> {
        Err(Failure::new(ErrorKind::Internal, "stub"))
    }
    pub async fn commit(&self, _: &TableName, _: &[TableRequirement], _: &[TableUpdate]) -> Commit {
        Commit::Refused(Failure::new(ErrorKind::Internal, "stub"))
    }
}
