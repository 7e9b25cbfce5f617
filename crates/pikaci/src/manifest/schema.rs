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
