//! A selector as it is written in JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use crate::proto::{LabelOperator, LabelRequirement, Selector};

/// [`Selector`] by the names that the contract's JSON gives its fields.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Json {
    names: Vec<String>,
    labels: BTreeMap<String, String>,
    #[serde(alias = "label_requirements")]
    label_requirements: Vec<Requirement>,
    #[serde(alias = "compose_project")]
    compose_project: String,
    #[serde(alias = "compose_services")]
    compose_services: Vec<String>,
    images: Vec<String>,
    all: bool,
    exclude: Vec<String>,
    #[serde(alias = "include_stopped")]
    include_stopped: bool,
    #[serde(alias = "allow_missing")]
    allow_missing: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Requirement {
    key: String,
    #[serde(deserialize_with = "operator")]
    operator: LabelOperator,
    #[serde(default)]
    values: Vec<String>,
}

fn operator<'de, D: Deserializer<'de>>(json: D) -> Result<LabelOperator, D::Error> {
    let name = String::deserialize(json)?;
    let unknown = || serde::de::Error::custom(format!("no operator {name:?}"));
    LabelOperator::from_str_name(&name).ok_or_else(unknown)
}

/// Reads a selector as `grpcurl` takes it. What it may hold the server says.
pub(super) fn parse(text: &str) -> Result<Selector, serde_json::Error> {
    let json: Json = serde_json::from_str(text)?;
    let requirements = json.label_requirements.into_iter();
    Ok(Selector {
        names: json.names,
        labels: json.labels.into_iter().collect(),
        label_requirements: requirements
            .map(|requirement| LabelRequirement {
                key: requirement.key,
                operator: requirement.operator.into(),
                values: requirement.values,
            })
            .collect(),
        compose_project: json.compose_project,
        compose_services: json.compose_services,
        images: json.images,
        all: json.all,
        exclude: json.exclude,
        include_stopped: json.include_stopped,
        allow_missing: json.allow_missing,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every field there is: a new one does not compile.
    fn whole() -> Selector {
        Selector {
            names: vec!["web-*".into()],
            labels: [("tier".into(), "front".into())].into(),
            label_requirements: vec![LabelRequirement {
                key: "env".into(),
                operator: LabelOperator::NotIn.into(),
                values: vec!["dev".into()],
            }],
            compose_project: "shop".into(),
            compose_services: vec!["web".into()],
            images: vec!["shop/*".into()],
            all: true,
            exclude: vec!["web-9".into()],
            include_stopped: true,
            allow_missing: true,
        }
    }

    #[test]
    fn each_field_is_read_by_both_of_its_names() {
        let json = r#"{
            "names": ["web-*"], "labels": {"tier": "front"}, "all": true, "images": ["shop/*"],
            "labelRequirements": [{"key": "env", "operator": "LABEL_OPERATOR_NOT_IN", "values": ["dev"]}],
            "composeProject": "shop", "composeServices": ["web"], "exclude": ["web-9"],
            "includeStopped": true, "allowMissing": true
        }"#;
        assert_eq!(parse(json).unwrap(), whole());
        let names = [
            ("labelRequirements", "label_requirements"),
            ("composeProject", "compose_project"),
            ("composeServices", "compose_services"),
            ("includeStopped", "include_stopped"),
            ("allowMissing", "allow_missing"),
        ];
        let snake = |json: String, (camel, snake): &(&str, &str)| json.replace(camel, snake);
        let json = names.iter().fold(json.to_owned(), snake);
        assert_eq!(parse(&json).unwrap(), whole());
    }

    #[test]
    fn what_the_contract_does_not_know_is_refused() {
        let wrong = [
            "web",
            r#"{"name": ["web"]}"#,
            r#"{"names": "web"}"#,
            r#"{"labelRequirements": [{"key": "a", "operator": "IN"}]}"#,
            r#"{"labelRequirements": [{"key": "a"}]}"#,
        ];
        for text in wrong {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse("{}").unwrap(), Selector::default());
    }
}
