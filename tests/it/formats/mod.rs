//! The two stored formats, read and written from outside: against Apache Avro,
//! fastavro and Google's protobuf, against files kept
//! in `tests/fixtures/golden`, and against input that means harm.

pub mod adopt;
mod avro;
mod child_deletes;
mod fastavro;
mod golden;
mod hamba;
mod hostile;
mod metadata;
mod mutations;
mod protobuf;
pub mod rebuild;
mod roundtrip;
mod sample;
mod versions;
