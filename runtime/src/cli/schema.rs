//! `schema`: JSON Schemas for editors.

use crate::report;

/// `schema job`: of a job file.
pub fn job() -> super::Outcome {
    report::result(&format!("{:#}", crate::job::schema()));
    Ok(())
}

/// `schema asset`: of an asset contract.
pub fn asset() -> super::Outcome {
    report::result(&format!("{:#}", crate::job::asset_schema()));
    Ok(())
}
