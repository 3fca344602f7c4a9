//! Default values: a message on the wire, protobuf's JSON form of it in the catalog.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::milvus::proto::schema::ValueField;
use crate::milvus::proto::schema::value_field::Data;

/// The JSON form, 64-bit integers as strings.
pub fn to_json(field: &ValueField) -> Option<Value> {
    Some(match field.data.as_ref()? {
        Data::BoolData(v) => json!({ "bool_data": v }),
        Data::IntData(v) => json!({ "int_data": v }),
        Data::LongData(v) => json!({ "long_data": v.to_string() }),
        Data::FloatData(v) => json!({ "float_data": v }),
        Data::DoubleData(v) => json!({ "double_data": v }),
        Data::StringData(v) => json!({ "string_data": v }),
        Data::BytesData(v) => json!({ "bytes_data": STANDARD.encode(v) }),
        Data::TimestamptzData(v) => json!({ "timestamptz_data": v.to_string() }),
        Data::DateData(v) => json!({ "date_data": v }),
        Data::TimeData(v) => json!({ "time_data": v.to_string() }),
    })
}

/// The message of a JSON form; none when it is not one.
pub fn from_json(value: &Value) -> Option<ValueField> {
    let (key, value) = value.as_object()?.iter().next()?;
    let small = || long(value).and_then(|v| i32::try_from(v).ok());
    let data = match key.as_str() {
        "bool_data" | "boolData" => Data::BoolData(value.as_bool()?),
        "int_data" | "intData" => Data::IntData(small()?),
        "long_data" | "longData" => Data::LongData(long(value)?),
        "float_data" | "floatData" => Data::FloatData(value.as_f64()? as f32),
        "double_data" | "doubleData" => Data::DoubleData(value.as_f64()?),
        "string_data" | "stringData" => Data::StringData(value.as_str()?.to_string()),
        "bytes_data" | "bytesData" => Data::BytesData(STANDARD.decode(value.as_str()?).ok()?),
        "timestamptz_data" | "timestamptzData" => Data::TimestamptzData(long(value)?),
        "date_data" | "dateData" => Data::DateData(small()?),
        "time_data" | "timeData" => Data::TimeData(long(value)?),
        _ => return None,
    };
    Some(ValueField { data: Some(data) })
}

fn long(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_value_survives_the_way_there_and_back() {
        for data in [
            Data::BoolData(true),
            Data::IntData(-7),
            Data::LongData(i64::MAX),
            Data::FloatData(0.5),
            Data::DoubleData(-0.25),
            Data::StringData("ä".into()),
            Data::BytesData(vec![0, 255]),
            Data::TimestamptzData(1),
            Data::DateData(2),
            Data::TimeData(3),
        ] {
            let field = ValueField { data: Some(data) };
            let json = to_json(&field).expect("there is data");
            assert_eq!(from_json(&json), Some(field), "{json}");
        }
        assert_eq!(to_json(&ValueField { data: None }), None);
        assert_eq!(
            from_json(&json!({"long_data": 5})).and_then(|f| to_json(&f)),
            Some(json!({"long_data": "5"}))
        );
    }
}
