//! What must not compile: a task cannot look alive by itself.

#[test]
fn neither_proof_nor_permit_can_be_made_by_a_task() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/compile/cases/proof_of_the_engines.rs");
    cases.compile_fail("tests/compile/cases/proof_of_ones_own.rs");
    cases.compile_fail("tests/compile/cases/permit_of_ones_own.rs");
}
