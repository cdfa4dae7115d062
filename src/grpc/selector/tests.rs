use std::collections::BTreeMap;

use proptest::prelude::*;
use tonic::Code;
use tonic_types::StatusExt;

use super::*;
use crate::docker::State;
use crate::grpc::status::Violations;
use crate::proto::{self, LabelOperator};

/// A container whose id begins with these digits.
fn container(digits: &str, name: &str, image: &str, labels: &[(&str, &str)]) -> Container {
    let id = format!("{digits:0<64}");
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    Container {
        name: name.to_owned(),
        image: image.to_owned(),
        labels: labels.iter().map(owned).collect(),
        state: State::Running,
        ..Container::bare(ContainerId::parse(&id).unwrap())
    }
}

fn inventory(all: &[Container]) -> Inventory {
    let all = all.iter().map(|c| (c.id, Arc::new(c.clone())));
    Inventory {
        containers: all.collect(),
        ..Inventory::default()
    }
}

fn checked(asked: &proto::Selector) -> Result<Criteria, Status> {
    let mut found = Violations::default();
    let criteria = criteria(Some(asked), &mut found);
    found.check().map(|()| criteria.unwrap())
}

fn bound(asked: &proto::Selector, all: &[Container]) -> Result<Selector, Status> {
    Selector::bind(checked(asked)?, &inventory(all), None, false)
}

fn named(names: &[&str]) -> proto::Selector {
    proto::Selector {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..proto::Selector::default()
    }
}

fn reason(refused: &Status) -> String {
    refused
        .get_error_details()
        .error_info()
        .unwrap()
        .reason
        .clone()
}

#[test]
fn a_name_follows_whoever_bears_it_and_a_prefix_stays_with_its_container() {
    let [old, new] = [
        container("abcd1", "web", "", &[]),
        container("abcd2", "web", "", &[]),
    ];
    let by_name = bound(&named(&["web"]), std::slice::from_ref(&old)).unwrap();
    assert_eq!(by_name.chosen(&new), Some(Choice::Exact));
    let renamed = container("abcd1", "web-old", "", &[]);
    assert_eq!(by_name.chosen(&renamed), None);
    let mut by_prefix = bound(&named(&["abcd"]), std::slice::from_ref(&old)).unwrap();
    assert_eq!(by_prefix.choose(&renamed), Some(Choice::Exact));
    assert_eq!(by_prefix.choose(&new), None);
    assert_eq!(by_prefix.choose(&container("ef", "abcd", "", &[])), None);
    assert!(by_prefix.is_closed() && !by_name.is_closed());
}

#[test]
fn a_name_goes_before_an_id_and_a_prefix_of_several_names_none() {
    let all = [
        container("abcd1", "web", "", &[]),
        container("abcd2", "api", "", &[]),
        container("ef01", "abcd", "", &[]),
    ];
    let selector = bound(&named(&["abcd"]), &all).unwrap();
    let chosen = all.iter().filter(|c| selector.chosen(c).is_some());
    assert_eq!(chosen.map(|c| &*c.name).collect::<Vec<_>>(), ["abcd"]);
    let refused = bound(&named(&["abcd"]), &all[..2]).unwrap_err();
    assert_eq!(reason(&refused), "CONTAINER_AMBIGUOUS");
    for absent in ["abc", "abcd19", "gone", "ABCD"] {
        let refused = bound(&named(&[absent]), &all[..2]).unwrap_err();
        assert_eq!(refused.code(), Code::NotFound, "{absent}");
    }
    let whole = all[1].id.to_string();
    let selector = bound(&named(&[&whole]), &all).unwrap();
    assert_eq!(selector.chosen(&all[1]), Some(Choice::Exact));
}

#[test]
fn what_is_awaited_is_bound_by_the_first_to_match() {
    let mut asked = named(&["web", "abcd"]);
    asked.allow_missing = true;
    let mut selector = bound(&asked, &[]).unwrap();
    assert_eq!((selector.awaits(), selector.is_closed()), (2, false));
    let found = container("abcd1", "any", "", &[]);
    assert_eq!(selector.choose(&found), Some(Choice::Exact));
    assert_eq!(selector.choose(&container("abcd2", "other", "", &[])), None);
    assert_eq!(selector.awaits(), 1);
    let web = container("ef", "web", "", &[]);
    assert_eq!(selector.choose(&web), Some(Choice::Exact));
    assert_eq!(selector.awaits(), 0);
    let members = [Arc::new(web)];
    assert_eq!(selector.unmatched(members.iter()), ["abcd"]);
}

#[test]
fn the_servers_own_container_is_selected_by_exact_name_alone() {
    let own = container("abcd", "pulsetail", "p", &[("a", "b")]);
    let select = |asked: &proto::Selector| {
        let all = inventory(std::slice::from_ref(&own));
        let selector = Selector::bind(checked(asked).unwrap(), &all, Some(own.id), false);
        selector.unwrap().chosen(&own)
    };
    let all = proto::Selector {
        all: true,
        ..proto::Selector::default()
    };
    let label = proto::Selector {
        labels: [("a".to_owned(), "b".to_owned())].into(),
        ..proto::Selector::default()
    };
    let image = proto::Selector {
        images: vec!["p".to_owned()],
        ..proto::Selector::default()
    };
    for asked in [all, label, image, named(&["pulse*"])] {
        assert_eq!(select(&asked), None, "{asked:?}");
    }
    for name in ["pulsetail", "abcd", &own.id.to_string()] {
        assert_eq!(select(&named(&[name])), Some(Choice::Exact));
    }
}

#[test]
fn states_count_but_for_what_is_named_exactly() {
    let in_state = |state| Container {
        state,
        ..container("abcd", "web", "", &[])
    };
    use State::{Created, Dead, Exited, Paused, Removing, Restarting, Running, Unknown};
    let up = [Running, Paused, Restarting];
    let stopped = [Created, Exited, Unknown];
    for state in up.into_iter().chain(stopped).chain([Removing, Dead]) {
        let container = in_state(state);
        let matched = |stopped| Choice::Matched { stopped }.holds(&container);
        let is_up = up.contains(&state);
        assert_eq!(matched(false), is_up, "{state:?}");
        assert_eq!(
            matched(true),
            is_up || stopped.contains(&state),
            "{state:?}"
        );
        assert!(Choice::Exact.holds(&container));
    }
}

#[test]
fn what_is_no_selector_is_refused_by_field() {
    let requirement = |key: &str, operator: i32, values: &[&str]| proto::LabelRequirement {
        key: key.to_owned(),
        operator,
        values: values.iter().map(|v| (*v).to_owned()).collect(),
    };
    let (is, is_not) = (LabelOperator::In as i32, LabelOperator::NotIn as i32);
    let (has, has_not) = (
        LabelOperator::Exists as i32,
        LabelOperator::NotExists as i32,
    );
    for (wrong, field, code) in [
        (requirement("", has, &[]), "key", Code::InvalidArgument),
        (requirement("a", 0, &[]), "operator", Code::InvalidArgument),
        (requirement("a", 99, &[]), "operator", Code::Unimplemented),
        (requirement("a", is, &[]), "values", Code::InvalidArgument),
        (
            requirement("a", is_not, &[]),
            "values",
            Code::InvalidArgument,
        ),
        (
            requirement("a", has, &["b"]),
            "values",
            Code::InvalidArgument,
        ),
        (
            requirement("a", has_not, &["b"]),
            "values",
            Code::InvalidArgument,
        ),
    ] {
        let asked = proto::Selector {
            label_requirements: vec![wrong],
            ..proto::Selector::default()
        };
        let refused = checked(&asked).unwrap_err();
        let field = format!("selector.label_requirements[0].{field}:");
        assert_eq!(refused.code(), code, "{field}");
        assert!(refused.message().contains(&field), "{}", refused.message());
    }
    let only_flags = proto::Selector {
        exclude: vec!["web".to_owned()],
        include_stopped: true,
        allow_missing: true,
        ..proto::Selector::default()
    };
    assert_eq!(reason(&checked(&only_flags).unwrap_err()), "SELECTOR_EMPTY");
    let mut exclude = named(&["*"]);
    exclude.exclude = vec!["a/b".to_owned()];
    let refused = checked(&exclude).unwrap_err();
    assert!(refused.message().starts_with("selector.exclude[0]:"));
}

/// A selector by the words of the contract, one at a time.
fn naive(asked: &proto::Selector, container: &Container) -> bool {
    let glob = |pattern: &str, text: &str| Pattern::new(pattern).matches(text);
    let label = |key: &str| container.labels.get(key).cloned();
    let mut groups = Vec::new();
    if !asked.names.is_empty() {
        groups.push(asked.names.iter().any(|n| glob(n, &container.name)));
    }
    if !asked.labels.is_empty() {
        groups.push(
            asked
                .labels
                .iter()
                .all(|(k, v)| label(k).as_ref() == Some(v)),
        );
    }
    if !asked.label_requirements.is_empty() {
        groups.push(asked.label_requirements.iter().all(|r| match r.operator() {
            LabelOperator::In => label(&r.key).is_some_and(|v| r.values.contains(&v)),
            LabelOperator::NotIn => !label(&r.key).is_some_and(|v| r.values.contains(&v)),
            LabelOperator::Exists => label(&r.key).is_some(),
            LabelOperator::NotExists => label(&r.key).is_none(),
            LabelOperator::Unspecified => unreachable!(),
        }));
    }
    if !asked.compose_project.is_empty() {
        groups.push(label(PROJECT).as_ref() == Some(&asked.compose_project));
    }
    if !asked.compose_services.is_empty() {
        groups.push(label(SERVICE).is_some_and(|s| asked.compose_services.contains(&s)));
    }
    if !asked.images.is_empty() {
        groups.push(asked.images.iter().any(|i| glob(i, &container.image)));
    }
    let excluded = asked.exclude.iter().any(|e| glob(e, &container.name));
    (asked.all || !groups.is_empty()) && groups.iter().all(|holds| *holds) && !excluded
}

fn some<T: std::fmt::Debug + Clone + 'static>(
    items: &'static [T],
    most: usize,
) -> impl Strategy<Value = Vec<T>> {
    prop::collection::vec(prop::sample::select(items), 0..=most)
}

fn texts(items: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<String>> {
    some(items, most).prop_map(|texts| texts.into_iter().map(str::to_owned).collect())
}

const KEYS: [&str; 4] = ["a", "b", PROJECT, SERVICE];

fn labels(most: usize) -> impl Strategy<Value = BTreeMap<String, String>> {
    let pair = (
        prop::sample::select(&KEYS[..]),
        prop::sample::select(&["x", "y"][..]),
    );
    prop::collection::vec(pair, 0..=most).prop_map(|pairs| {
        let owned = pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned()));
        owned.collect()
    })
}

fn requirements() -> impl Strategy<Value = Vec<proto::LabelRequirement>> {
    let one = (
        prop::sample::select(&KEYS[..]),
        1..=4_i32,
        texts(&["x", "y"], 2),
    );
    let one = one.prop_map(|(key, operator, mut values)| {
        match operator {
            1 | 2 if values.is_empty() => values.push("x".to_owned()),
            3 | 4 => values.clear(),
            _ => {}
        }
        proto::LabelRequirement {
            key: key.to_owned(),
            operator,
            values,
        }
    });
    prop::collection::vec(one, 0..=2)
}

fn selectors() -> impl Strategy<Value = proto::Selector> {
    let names = texts(&["web-*", "*", "w?b", "api", "*-1"], 2);
    let images = texts(&["nginx", "nginx:*", "*:1"], 2);
    let texts_of = || texts(&["x", "y"], 2);
    let project = prop::sample::select(&["", "", "x"][..]);
    let others = (any::<bool>(), texts(&["api", "web-?"], 2));
    (
        names,
        labels(1),
        requirements(),
        project,
        texts_of(),
        images,
        others,
    )
        .prop_map(
            |(names, labels, label_requirements, project, services, images, (all, exclude))| {
                proto::Selector {
                    names,
                    labels: labels.into_iter().collect(),
                    label_requirements,
                    compose_project: project.to_owned(),
                    compose_services: services,
                    images,
                    all,
                    exclude,
                    ..proto::Selector::default()
                }
            },
        )
}

fn containers() -> impl Strategy<Value = Container> {
    let name = prop::sample::select(&["web", "web-1", "web-22", "api", "x-1"][..]);
    let image = prop::sample::select(&["nginx", "nginx:1", "redis:1"][..]);
    (name, image, labels(4)).prop_map(|(name, image, labels)| Container {
        labels,
        ..container("abcd", name, image, &[])
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn all_groups_hold_and_of_the_items_of_one_some(asked in selectors(), container in containers()) {
        let mut asked = asked;
        asked.allow_missing = true;
        match bound(&asked, std::slice::from_ref(&container)) {
            Ok(selector) => {
                let chosen = selector.chosen(&container).is_some();
                prop_assert_eq!(chosen, naive(&asked, &container));
            }
            Err(refused) => prop_assert_eq!(reason(&refused), "SELECTOR_EMPTY"),
        }
    }
}
