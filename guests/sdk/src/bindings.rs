//! Generated from `wit/`. Connectors use the types of the crate's root instead.
#![allow(
    missing_docs,
    unsafe_code,
    clippy::all,
    clippy::unwrap_used,
    clippy::expect_used
)]

/// What the host gives.
pub mod capabilities {
    wit_bindgen::generate!({
        world: "capabilities",
        path: "../../wit",
        generate_all,
    });
}

/// The exports of a reader.
pub mod reader {
    wit_bindgen::generate!({
        world: "reader-component",
        path: "../../wit",
        with: {
            "dativo:connector/types@0.1.0": super::capabilities::dativo::connector::types,
            "dativo:connector/data@0.1.0": super::capabilities::dativo::connector::data,
            "dativo:connector/http@0.1.0": super::capabilities::dativo::connector::http,
            "dativo:connector/iceberg@0.1.0": super::capabilities::dativo::connector::iceberg,
            "dativo:connector/json@0.1.0": super::capabilities::dativo::connector::json,
            "dativo:connector/kms@0.1.0": super::capabilities::dativo::connector::kms,
            "dativo:connector/log@0.1.0": super::capabilities::dativo::connector::log,
            "dativo:connector/object-store@0.1.0": super::capabilities::dativo::connector::object_store,
            "dativo:connector/parquet@0.1.0": super::capabilities::dativo::connector::parquet,
            "dativo:connector/postgres@0.1.0": super::capabilities::dativo::connector::postgres,
        },
        pub_export_macro: true,
        default_bindings_module: "dativo_connector::bindings::reader",
    });
}

/// The exports of a writer.
pub mod writer {
    wit_bindgen::generate!({
        world: "writer-component",
        path: "../../wit",
        with: {
            "dativo:connector/types@0.1.0": super::capabilities::dativo::connector::types,
            "dativo:connector/data@0.1.0": super::capabilities::dativo::connector::data,
            "dativo:connector/http@0.1.0": super::capabilities::dativo::connector::http,
            "dativo:connector/iceberg@0.1.0": super::capabilities::dativo::connector::iceberg,
            "dativo:connector/json@0.1.0": super::capabilities::dativo::connector::json,
            "dativo:connector/kms@0.1.0": super::capabilities::dativo::connector::kms,
            "dativo:connector/log@0.1.0": super::capabilities::dativo::connector::log,
            "dativo:connector/object-store@0.1.0": super::capabilities::dativo::connector::object_store,
            "dativo:connector/parquet@0.1.0": super::capabilities::dativo::connector::parquet,
            "dativo:connector/postgres@0.1.0": super::capabilities::dativo::connector::postgres,
        },
        pub_export_macro: true,
        default_bindings_module: "dativo_connector::bindings::writer",
    });
}
