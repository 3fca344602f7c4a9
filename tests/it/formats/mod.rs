//! The two stored formats, read and written from outside: against Apache Avro, against files kept
//! in `tests/fixtures/golden`, and against input that means harm.

mod avro;
mod golden;
mod hostile;
mod metadata;
mod roundtrip;
mod sample;
mod versions;
