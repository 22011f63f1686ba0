//! Types and traits generated from `wit/`. Nothing here is written by hand but the mapping of
//! resources to the host types behind them.

/// What the host gives: every interface that a component may import.
pub mod imports {
    wasmtime::component::bindgen!({
        world: "capabilities",
        path: "../wit",
        imports: { default: async | trappable },
        with: {
            "dativo:connector/data.schema": crate::data::HostSchema,
            "dativo:connector/data.record-batch": crate::data::HostBatch,
            "dativo:connector/data.blob": crate::data::HostBlob,
            "dativo:connector/http.client": crate::capabilities::http::HostClient,
            "dativo:connector/iceberg.data-files": crate::capabilities::iceberg::HostDataFiles,
            "dativo:connector/json.document": crate::capabilities::json::HostDocument,
            "dativo:connector/kms.sealer": crate::capabilities::kms::HostSealer,
            "dativo:connector/object-store.upload": crate::capabilities::object_store::HostUpload,
            "dativo:connector/object-store.byte-stream": crate::capabilities::object_store::HostByteStream,
            "dativo:connector/parquet.encoder": crate::capabilities::parquet::HostEncoder,
            "dativo:connector/postgres.connection": crate::capabilities::postgres::HostConnection,
            "dativo:connector/postgres.rows": crate::capabilities::postgres::HostRows,
        },
    });
    pub use self::dativo::connector::{
        data, http, iceberg, json, kms, log, object_store, parquet, postgres, types,
    };
}

/// What a reader exports.
pub mod reader {
    wasmtime::component::bindgen!({
        world: "reader-component",
        path: "../wit",
        exports: { default: async },
        with: {
            "dativo:connector/types": super::imports::types,
            "dativo:connector/data": super::imports::data,
            "dativo:connector/http": super::imports::http,
            "dativo:connector/iceberg": super::imports::iceberg,
            "dativo:connector/json": super::imports::json,
            "dativo:connector/kms": super::imports::kms,
            "dativo:connector/log": super::imports::log,
            "dativo:connector/object-store": super::imports::object_store,
            "dativo:connector/parquet": super::imports::parquet,
            "dativo:connector/postgres": super::imports::postgres,
        },
    });
}

/// What a writer exports.
pub mod writer {
    wasmtime::component::bindgen!({
        world: "writer-component",
        path: "../wit",
        exports: { default: async },
        with: {
            "dativo:connector/types": super::imports::types,
            "dativo:connector/data": super::imports::data,
            "dativo:connector/http": super::imports::http,
            "dativo:connector/iceberg": super::imports::iceberg,
            "dativo:connector/json": super::imports::json,
            "dativo:connector/kms": super::imports::kms,
            "dativo:connector/log": super::imports::log,
            "dativo:connector/object-store": super::imports::object_store,
            "dativo:connector/parquet": super::imports::parquet,
            "dativo:connector/postgres": super::imports::postgres,
        },
    });
}
