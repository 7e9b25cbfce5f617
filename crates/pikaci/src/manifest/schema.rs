//! The JSON schema of a manifest, for editors. It is committed as `schema/pikaci.schema.json`.

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{Schema, SchemaGenerator};
use serde_json::Value;

use super::raw::RawManifest;

/// Writes the JSON schema of `pikaci.toml`.
pub fn json_schema() -> String {
    // Draft 7 is what the TOML plugins of editors understand.
    let settings = SchemaSettings::draft07().with_transform(RecursiveTransform(for_toml));
    let schema = SchemaGenerator::new(settings).into_root_schema_for::<RawManifest>();
    // `{:#}` of a `Value` cannot fail, unlike the serializer's own function.
    format!("{:#}\n", schema.as_value())
}

/// TOML has no null, and a table that takes no unknown keys is told so in the words of draft 7.
fn for_toml(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|word| word != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type").is_none_or(|word| word != "null"));
        if let [Value::Object(only)] = choices.as_slice() {
            let only = only.clone();
            object.remove("anyOf");
            object.extend(only);
        }
    }
    if object.remove("unevaluatedProperties").is_some() {
        object.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::raw::{RawConcurrency, RawJob, RawPrepared, RawSettings, RawTarget};
    use super::super::table::{ReadTable, TableReader};
    use super::*;

    /// The keys that the schema gives to one of its tables, sorted.
    fn schema_keys(schema: &Value, pointer: &str) -> Vec<String> {
        let table = schema.pointer(pointer).unwrap();
        assert_eq!(table["additionalProperties"], false, "{pointer}");
        table["properties"].as_object().unwrap().keys().cloned().collect()
    }

    fn read_keys<T: ReadTable>() -> Vec<String> {
        let mut keys: Vec<String> = TableReader::known_keys::<T>().into_iter().map(str::to_owned).collect();
        keys.sort();
        keys
    }

    #[test]
    fn the_schema_has_the_keys_that_are_read() {
        let schema: Value = serde_json::from_str(&json_schema()).unwrap();
        assert_eq!(schema_keys(&schema, ""), read_keys::<RawManifest>());
        assert_eq!(schema_keys(&schema, "/definitions/Defaults"), read_keys::<RawSettings>());
        assert_eq!(schema_keys(&schema, "/definitions/Target"), read_keys::<RawTarget>());
        assert_eq!(schema_keys(&schema, "/definitions/Concurrency"), read_keys::<RawConcurrency>());
        assert_eq!(schema_keys(&schema, "/definitions/Job"), read_keys::<RawJob>());
        assert_eq!(schema_keys(&schema, "/definitions/Prepared"), read_keys::<RawPrepared>());
    }

    #[test]
    fn the_committed_schema_is_the_one_of_this_code() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schema/pikaci.schema.json");
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            std::fs::write(&path, json_schema()).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == json_schema(),
            "schema/pikaci.schema.json is out of date; run `UPDATE_SCHEMA=1 cargo test -p pikaci committed_schema`"
        );
    }
}
