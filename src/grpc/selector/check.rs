//! A request's selector, checked by itself.

use super::{Criteria, Operator, Pattern, Requirement, pattern};
use crate::grpc::status::{Reason, Violations, quote};
use crate::proto::{self, LabelOperator};

const MAX_NAME: usize = 255;

/// The selector that a request asks for; `None`: there is none.
pub(crate) fn criteria(
    asked: Option<&proto::Selector>,
    found: &mut Violations,
) -> Option<Criteria> {
    let asked = asked?;
    let set = asked.all
        || !asked.names.is_empty()
        || !asked.labels.is_empty()
        || !asked.label_requirements.is_empty()
        || !asked.compose_project.is_empty()
        || !asked.compose_services.is_empty()
        || !asked.images.is_empty();
    let what = "selects nothing; set names, labels, compose_project, images or all";
    found.require(set, Reason::SelectorEmpty, "selector", what);
    for (names, field) in [(&asked.names, "names"), (&asked.exclude, "exclude")] {
        for (place, name) in names.iter().enumerate() {
            check_name(name, &format!("selector.{field}[{place}]"), found);
        }
    }
    let keys = !asked.labels.contains_key("");
    let what = "a label has no empty key";
    found.require(keys, Reason::FieldInvalid, "selector.labels", what);
    let requirements = asked.label_requirements.iter().enumerate();
    let requirements = requirements.filter_map(|(place, r)| requirement(r, place, found));
    let patterns = |texts: &[String]| texts.iter().map(|text| Pattern::new(text)).collect();
    Some(Criteria {
        names: asked.names.clone(),
        labels: asked.labels.clone().into_iter().collect(),
        requirements: requirements.collect(),
        project: asked.compose_project.clone(),
        services: asked.compose_services.clone(),
        images: patterns(&asked.images),
        exclude: patterns(&asked.exclude),
        include_stopped: asked.include_stopped,
        allow_missing: asked.allow_missing,
    })
}

fn requirement(
    asked: &proto::LabelRequirement,
    place: usize,
    found: &mut Violations,
) -> Option<Requirement> {
    let field = |name: &str| format!("selector.label_requirements[{place}].{name}");
    let what = "a label has no empty key";
    found.require(
        !asked.key.is_empty(),
        Reason::FieldInvalid,
        &field("key"),
        what,
    );
    let operator = match LabelOperator::try_from(asked.operator) {
        Ok(LabelOperator::In) => Operator::In,
        Ok(LabelOperator::NotIn) => Operator::NotIn,
        Ok(LabelOperator::Exists) => Operator::Exists,
        Ok(LabelOperator::NotExists) => Operator::NotExists,
        Ok(LabelOperator::Unspecified) => {
            let what = "a condition needs an operator";
            found.add(Reason::FieldInvalid, field("operator"), what);
            return None;
        }
        Err(_) => {
            let what = "not known to this release";
            found.add(Reason::NotImplemented, field("operator"), what);
            return None;
        }
    };
    let wants = matches!(operator, Operator::In | Operator::NotIn);
    let what = match wants {
        true => "IN and NOT_IN need a value",
        false => "EXISTS and NOT_EXISTS take no value",
    };
    let right = wants != asked.values.is_empty();
    found.require(right, Reason::FieldInvalid, &field("values"), what);
    Some(Requirement {
        key: asked.key.clone(),
        operator,
        values: asked.values.clone(),
    })
}

/// Checks the form of a name or glob, and of an id or its beginning.
pub(crate) fn check_name(name: &str, field: &str, found: &mut Violations) {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.-*?".contains(&b);
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(allowed) {
        let what = format!("{} is no container's name, id or prefix", quote(name));
        found.add(Reason::FieldInvalid, field, what);
    }
}

/// The same where one container is to be named.
pub(crate) fn check_exact_name(name: &str, field: &str, found: &mut Violations) {
    match pattern::is_glob(name) {
        true => found.add(
            Reason::FieldInvalid,
            field,
            "globs name no single container",
        ),
        false => check_name(name, field, found),
    }
}
