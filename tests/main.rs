//! The integration tests: one binary, a module for each subject.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod compiler;
mod connectors;
mod contracts;
mod csv;
mod decrypt;
mod encrypted;
mod exactly_once;
mod flights;
mod grants;
mod iceberg;
mod kms;
mod postgres;
mod process;
mod quickstart;
mod rest;
mod retries;
mod s3;
mod sandbox;
mod seal;
mod serve;
mod signals;
mod support;
mod tidy;
