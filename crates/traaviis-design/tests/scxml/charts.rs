//! Small charts that reach `pass` when one fact holds, and `fail` otherwise.

use std::sync::Arc;

use traaviis_design::scxml;
use traaviis_engine::{Machine, simulate::Simulation};
use traaviis_model::{
    InstanceId, Span, TenantCtx, Timestamp, Value,
    document::{self, Format},
};

/// Runs a chart for three seconds; returns the active states, and what the document looked like.
fn run(inner: &str, events: &[&str]) -> (String, String) {
    let source = format!(
        r#"<scxml datamodel="ecmascript" initial="s0" name="Chart">{inner}
        <final id="pass"/><final id="fail"/></scxml>"#
    );
    let imported = scxml::import(&source).unwrap_or_else(|why| panic!("{why}\n{source}"));
    let yaml = imported.document.to_yaml();
    let read = document::read(&yaml, Format::Yaml);
    let Some(definition) = read.definition else { panic!("{:?}\n{yaml}", read.diagnostics) };
    let machine = match Machine::compile(Arc::new(definition)) {
        Ok(machine) => machine,
        Err(found) => panic!("{found:?}\n{yaml}"),
    };
    let id = InstanceId(uuid::Uuid::from_u128(1));
    let ctx = TenantCtx::for_test(1);
    let begun = Simulation::start(&machine, &ctx, id, Value::empty_map(), Timestamp(0));
    let mut run = begun.unwrap_or_else(|why| panic!("{why}\n{yaml}"));
    for event in events {
        // A refused event is one that no state takes.
        let _ = run.send((*event).into(), Value::Null);
    }
    run.advance(Span::secs(3)).unwrap();
    (run.snapshot().configuration.join(" "), yaml)
}

fn passes(what: &str, inner: &str) {
    let (states, yaml) = run(inner, &[]);
    assert_eq!(states, "pass", "{what}\n{yaml}");
}

/// A chart with one state that does something and waits for `wanted`; all else fails.
fn leads_to(what: &str, data: &str, entry: &str, wanted: &str) {
    passes(
        what,
        &format!(
            r#"<datamodel>{data}</datamodel>
            <state id="s0"><onentry>{entry}</onentry>
              <transition {wanted} target="pass"/><transition event="*" target="fail"/>
            </state>"#
        ),
    );
}

#[test]
fn names_stand_for_all_names_below_them() {
    leads_to("a longer name", "", r#"<raise event="a.b.c"/>"#, r#"event="x a.b""#);
    leads_to("a star behind", "", r#"<raise event="a"/>"#, r#"event="a.*""#);
    leads_to("a dot behind", "", r#"<raise event="a.b"/>"#, r#"event="a.""#);
    let inner = r#"<state id="s0">
        <onentry><raise event="ab"/></onentry>
        <transition event="a" target="fail"/><transition event="*" target="pass"/></state>"#;
    passes("letters are no segments", inner);
    // Document order decides, not the length of the name.
    let inner = r#"<state id="s0"><onentry><raise event="a.b.c"/></onentry>
        <transition event="a" cond="false" target="fail"/>
        <transition event="*" cond="In('s0')" target="pass"/>
        <transition event="a.b" target="fail"/></state>"#;
    passes("order", inner);
    for (sent, wanted) in [("door.open", "pass"), ("door", "pass"), ("doors", "s0")] {
        let inner = r#"<state id="s0"><transition event="door" target="pass"/></state>"#;
        assert_eq!(run(inner, &[sent]).0, wanted);
    }
    let inner = r#"<state id="s0"><transition event="*" target="pass"/></state>"#;
    assert_eq!(run(inner, &["never.named"]).0, "pass");
    assert_eq!(run(inner, &["done.state.s0"]).0, "s0", "callers send no events of the engine");
    let inner = r#"<state id="s0"><onentry><raise event="beacon"/></onentry>
        <transition event="*" target="pass"/></state>"#;
    assert_eq!(run(inner, &[]).0, "pass", "whatever its name");
}

#[test]
fn done_states_are_told_apart_from_states_inside() {
    let inner = r#"<state id="s0" initial="a">
        <state id="a" initial="b"><state id="b" initial="c"><state id="c">
            <transition target="d"/></state><final id="d"/></state></state>
        <transition event="done.state.a" target="fail"/>
        <transition event="done.state.b" target="pass"/></state>"#;
    passes("the inner one is done", inner);
    let inner = inner.replace("done.state.b", "done");
    passes("any is done", &inner.replace(r#"event="done.state.a" target="fail""#, r#"event="x""#));
}

#[test]
fn sending_knows_what_expressions_say() {
    let var = r#"<data id="v" expr="'x'"/>"#;
    leads_to("eventexpr", var, r#"<send eventexpr="v + '.y'"/>"#, r#"event="x.y""#);
    leads_to(
        "delayexpr and order",
        r#"<data id="long" expr="'1.5s'"/>"#,
        r#"<send event="late" delayexpr="long"/><send event="soon" delay="1s"/>"#,
        r#"event="soon""#,
    );
    leads_to(
        "cancel by expression",
        var,
        r#"<send event="no" id="x" delay=".5s"/><send event="yes" delay="1s"/>
           <cancel sendidexpr="v"/>"#,
        r#"event="yes""#,
    );
    leads_to(
        "idlocation is new each time",
        r#"<data id="a"/><data id="b"/>"#,
        r#"<send event="e" idlocation="a"/><send event="e" idlocation="b"/>"#,
        r#"event="e" cond="a !== b &amp;&amp; _event.sendid === a""#,
    );
    leads_to("no event is an error", "", "<send/>", r#"event="error.execution""#);
    leads_to(
        "an undefined name is an error",
        r#"<data id="v"/>"#,
        r#"<send eventexpr="v"/>"#,
        r#"event="error""#,
    );
    leads_to(
        "own address",
        "",
        r#"<send event="e" targetexpr="_ioprocessors['scxml'].location"/>"#,
        r#"event="e" cond="_event.origin == '#_scxml_' + _sessionid""#,
    );
    leads_to(
        "the internal queue",
        r#"<data id="v" expr="'#_internal'"/>"#,
        r#"<send event="later"/><send event="now" targetexpr="v"/>"#,
        r#"event="now" cond="_event.type == 'internal' &amp;&amp; !_event.origintype""#,
    );
    let nobody = r##"<send event="e" target="#_scxml_nobody" id="i"/>"##;
    leads_to("nobody", "", nobody, r#"event="error.communication" cond="_event.sendid == 'i'""#);
    let nowhere = r#"<send event="e" targetexpr="'nowhere'" id="i"/>"#;
    leads_to("nowhere", "", nowhere, r#"event="error.execution" cond="_event.sendid == 'i'""#);
    let strange = r#"<send event="e" typeexpr="'post'"/>"#;
    leads_to("a strange way", "", strange, r#"event="error.execution""#);
}

#[test]
fn sending_carries_data() {
    leads_to(
        "names and parameters",
        r#"<data id="a" expr="1"/><data id="b" expr="{c: [4, 2]}"/>"#,
        r#"<send event="e" namelist="a"><param name="p" expr="a + 1"/>
           <param name="q" location="b.c[1]"/></send>"#,
        r#"event="e" cond="_event.data.a == 1 &amp;&amp; _event.data.p + _event.data.q == 4""#,
    );
    leads_to(
        "the same name twice",
        "",
        r#"<send event="e"><param name="p" expr="1"/><param name="p" expr="2"/></send>"#,
        r#"event="e" cond="_event.data.p == 2""#,
    );
    leads_to(
        "text",
        "",
        "<send event=\"e\"><content>\n this is\n  text </content></send>",
        r#"event="e" cond="_event.data == 'this is text'""#,
    );
    leads_to(
        "json",
        "",
        r#"<send event="e"><content>{"name": "bar", "size": 27}</content></send>"#,
        r#"event="e" cond="_event.data.name == 'bar' &amp;&amp; _event.data['size'] === 27""#,
    );
    leads_to(
        "an unknown name sends nothing",
        "",
        r#"<send event="e" namelist="nothing"/>"#,
        r#"event="error.execution""#,
    );
    leads_to(
        "text that looks like a template stays text",
        "",
        r#"<send event="e"><content expr="'${1 + 1}'"/></send>"#,
        r#"event="e" cond="_event.data == '${1 + 1}'""#,
    );
}

#[test]
fn done_data_come_with_the_event() {
    for (what, done, wanted) in [
        ("content", r#"<content expr="'foo'"/>"#, r#"event="done" cond="_event.data == 'foo'""#),
        (
            "parameters",
            r#"<param name="p" expr="1"/>"#,
            r#"event="done" cond="_event.data.p == 1""#,
        ),
        ("a broken one", r#"<param name="p" expr="return"/>"#, r#"event="error.execution""#),
        ("nothing there", r#"<param name="p" location="foo.bar"/>"#, r#"event="error.execution""#),
    ] {
        let inner = format!(
            r#"<state id="s0" initial="a"><state id="a"><transition target="b"/></state>
            <final id="b"><donedata>{done}</donedata></final>
            <transition {wanted} target="pass"/><transition event="*" target="fail"/></state>"#
        );
        passes(what, &inner);
    }
    let inner = r#"<state id="s0" initial="a"><state id="a"><transition target="b"/></state>
        <final id="b"><donedata><param name="p" expr="return"/></donedata></final>
        <transition event="error.execution"/>
        <transition event="done.state.s0" cond="typeof _event.data === 'undefined'" target="pass"/>
        <transition event="*" target="fail"/></state>"#;
    passes("the event still comes", inner);
}

#[test]
fn data_begin_with_what_is_written() {
    let check = |what, data, cond: &str| {
        let cond = cond.replace('&', "&amp;").replace('<', "&lt;");
        let inner = format!(
            r#"<datamodel>{data}</datamodel><state id="s0">
            <transition cond="{cond}" target="pass"/><transition target="fail"/></state>"#
        );
        passes(what, &inner);
    };
    check("earlier data", r#"<data id="a" expr="2"/><data id="b" expr="a * 3"/>"#, "b == 6");
    check("a list", "<data id='a'>[1, 2, 3]</data>", "a.length == 3 && a[2] == 3");
    check("an object", "<data id='a'>{p: 'q'}</data>", "a.p == 'q'");
    check("text", "<data id='a'>this  is\n text</data>", "a == 'this is text'");
    check("a word", "<data id='a'>word</data>", "a == 'word'");
    check("nothing", "<data id='a'/>", "typeof a === 'undefined' && !a");
    check("types", "<data id='a' expr='1'/>", "typeof a == 'number' && typeof 'x' === 'string'");
    check(
        "functions",
        r#"<data id="f" expr="function(a, b) { return a + b; }"/><data id="x" expr="f(1, 2)"/>"#,
        "x == 3 && f(x, f(x, 1)) === 7 && typeof f === 'function'",
    );
    check("text about functions", r#"<data id="a" expr="'a => b'"/>"#, "a === 'a => b'");
    let long = r#"<data id="f" expr="function(a) { a = 2; return a; }"/>"#;
    check("a function that nobody calls", long, "true");
    check("text and numbers", "<data id='a' expr='\"n\"'/>", "a + _name.length + 1 == 'n51'");
    check("a ternary", "<data id='a' expr='4'/>", "(a > 3 ? 'big' : 'small') === 'big'");
    check("both sides", "<data id='a'/>", "(a || 'none') == 'none' && !(a && a.b)");
    check("names", "", "_name === 'Chart' && typeof _sessionid == 'string'");
    check("classes", "<data id='a'>[]</data>", "a instanceof Array && !({} instanceof Array)");
    let inner = r#"<datamodel><data id="a" expr="return"/></datamodel>
        <state id="s0"><onentry><raise event="foo"/></onentry>
        <transition event="error.execution" cond="typeof a === 'undefined'" target="s1"/>
        <transition event="*" target="fail"/></state>
        <state id="s1"><onentry><assign location="a" expr="1"/></onentry>
        <transition cond="a == 1" target="pass"/></state>"#;
    passes("broken data are an error at the start", inner);
    let inner = r#"<datamodel><data id="n" expr="1"/><data id="m" expr="n + 1"/></datamodel>
        <state id="s0"><onexit><assign location="m" expr="m + 10"/></onexit>
        <transition cond="m &lt; 20" target="s0"/><transition cond="m == 22" target="pass"/>
        </state>"#;
    passes("data begin once", inner);
}

#[test]
fn assigning_is_an_error_where_there_is_no_place() {
    for location in ["nothing", "_event", "_name", "foo.bar", "", "v.w.x[0"] {
        let entry = format!(r#"<assign location="{location}" expr="1"/><raise event="on"/>"#);
        let wanted = r#"event="error.execution" cond="v == 7""#;
        leads_to(location, r#"<data id="v" expr="7"/>"#, &entry, wanted);
    }
    leads_to(
        "a place inside",
        r#"<data id="v" expr="{a: [1, {b: 2}]}"/>"#,
        r#"<assign location="v.a[1].b" expr="v.a[0] + 4"/><assign location="v['a'][0]" expr="9"/>
           <raise event="e"/>"#,
        r#"event="e" cond="v.a[1].b == 5 &amp;&amp; v.a[0] == 9""#,
    );
}

#[test]
fn the_first_true_branch_is_taken() {
    let chain = |n: u32| {
        format!(
            r#"<assign location="n" expr="{n}"/>
            <if cond="n == 1"><assign location="n" expr="20"/><raise event="one"/>
            <elseif cond="n == 2"/>
              <if cond="m"><raise event="no"/><else/><raise event="two"/></if>
            <elseif cond="n &gt; 1"/><raise event="more"/>
            <else/><raise event="none"/></if>"#
        )
    };
    let data = r#"<data id="n"/><data id="m" expr="false"/>"#;
    for (n, event) in [(1, "one"), (2, "two"), (3, "more"), (0, "none")] {
        leads_to(event, data, &chain(n), &format!(r#"event="{event}""#));
    }
    let broken = r#"<if cond="nothing.at.all"><raise event="no"/><else/><raise event="e"/></if>"#;
    let inner = format!(
        r#"<state id="s0"><onentry>{broken}</onentry>
        <transition event="error.execution" target="s1"/><transition event="*" target="fail"/>
        </state><state id="s1"><transition event="e" target="pass"/></state>"#
    );
    passes("a condition that fails is an error and counts as false", &inner);
}

#[test]
fn loops_go_over_the_list_as_it_was() {
    leads_to(
        "items, positions and loops inside",
        r#"<data id="l" expr="[[1, 2], [3]]"/><data id="i"/><data id="sum" expr="0"/>
           <data id="at" expr="''"/>"#,
        r#"<foreach array="l" item="row" index="i"><foreach array="row" item="cell" index="k">
             <if cond="cell != 2"><assign location="sum" expr="sum + cell"/></if>
             <assign location="at" expr="at + i + k + ','"/>
           </foreach></foreach><raise event="e"/>"#,
        r#"event="e" cond="sum == 4 &amp;&amp; at == '00,01,10,' &amp;&amp; cell == 3""#,
    );
    leads_to(
        "an error ends the loop and the block",
        r#"<data id="n" expr="0"/>"#,
        r#"<foreach array="[1, 2, 3]" item="x"><assign location="n" expr="n + 1"/>
           <assign location="nothing" expr="1"/></foreach><raise event="no"/>"#,
        r#"event="error.execution" cond="n == 1""#,
    );
    for (array, item) in [("7", "x"), ("nothing", "x"), ("[1]", "'x'"), ("[1]", "_event")] {
        let each = format!(r#"<foreach array="{array}" item="{item}"/><raise event="no"/>"#);
        leads_to(array, "", &each, r#"event="error""#);
    }
}

#[test]
fn errors_end_one_block_and_nobody_must_take_them() {
    let broken = r#"<assign location="nothing" expr="1"/>"#;
    for (element, at) in [("onentry", "s0"), ("onexit", "s1")] {
        let inner = format!(
            r#"<datamodel><data id="n" expr="0"/></datamodel>
            <state id="s0"><{element}>{broken}<assign location="n" expr="9"/></{element}>
            <{element}><assign location="n" expr="n + 1"/></{element}>
            <{element}><assign location="n" expr="n + 1"/>{broken}</{element}>
            <transition target="s1"/></state>
            <state id="s1"><transition cond="n == 2 &amp;&amp; In('s1')" target="pass"/></state>"#
        );
        assert_eq!(run(&inner, &[]).0, "pass", "{at}");
    }
}

#[test]
fn defaults_have_actions() {
    let chart = |initial: &str| {
        format!(
            r#"<datamodel><data id="n" expr="''"/></datamodel>
            <state id="s0"><transition target="{initial}"/></state>
            <state id="p">
              <onentry><assign location="n" expr="n + 'p'"/></onentry>
              <initial><transition target="a"><assign location="n" expr="n + 'i'"/></transition></initial>
              <history id="h" type="deep"><transition target="b">
                <assign location="n" expr="n + 'h'"/></transition></history>
              <state id="a"><onentry><assign location="n" expr="n + 'a'"/></onentry></state>
              <state id="b"><onentry><assign location="n" expr="n + 'b'"/></onentry></state>
              <transition event="again" target="h"/>
              <transition event="end" cond="n == 'pia'" target="pass"/>
              <transition event="end" cond="n == 'phbpb'" target="pass"/>
              <transition event="end" cond="n == 'pb'" target="pass"/>
              <transition event="end" target="fail"/>
            </state>"#
        )
    };
    assert_eq!(run(&chart("p"), &["end"]).0, "pass");
    assert_eq!(run(&chart("b"), &["end"]).0, "pass", "the child was named");
    assert_eq!(run(&chart("h"), &["again", "end"]).0, "pass", "what is remembered has no actions");
}

#[test]
fn late_data_are_bound_at_the_first_entry() {
    let source = r#"<scxml datamodel="ecmascript" binding="late" initial="s0">
        <datamodel><data id="n" expr="0"/></datamodel>
        <state id="s0"><transition cond="typeof v === 'undefined'" target="s1"/></state>
        <state id="s1"><datamodel><data id="v" expr="n + 1"/></datamodel>
          <onentry><assign location="n" expr="n + v"/></onentry>
          <transition cond="n == 1" target="s1"/><transition cond="n == 2" target="pass"/></state>
        <final id="pass"/></scxml>"#;
    let imported = scxml::import(source).unwrap();
    let read = document::read(&imported.document.to_yaml(), Format::Yaml);
    let machine = Machine::compile(Arc::new(read.definition.unwrap())).unwrap();
    let id = InstanceId(uuid::Uuid::from_u128(1));
    let ctx = TenantCtx::for_test(1);
    let run = Simulation::start(&machine, &ctx, id, Value::empty_map(), Timestamp(0)).unwrap();
    assert_eq!(&*run.snapshot().configuration[0], "pass");
}

#[test]
fn events_tell_where_they_come_from() {
    leads_to(
        "raised",
        "",
        r#"<raise event="e"/>"#,
        r#"event="e" cond="_event.type == 'internal'""#,
    );
    leads_to("sent", "", r#"<send event="e"/>"#, r#"event="e" cond="_event.type == 'external'""#);
    leads_to(
        "an error",
        "",
        r#"<assign location="x" expr="1"/>"#,
        r#"event="error.*" cond="_event.type == 'platform' &amp;&amp; _event.name == 'error.execution'""#,
    );
    leads_to(
        "without id",
        "",
        r#"<send event="e"/>"#,
        r#"event="e" cond="typeof _event.sendid === 'undefined' &amp;&amp; !_event.invokeid""#,
    );
    let inner = r#"<datamodel><data id="v"/></datamodel>
        <state id="s0"><onentry><raise event="e"/></onentry><transition event="e" target="s1"/></state>
        <state id="s1"><onentry><assign location="v" expr="_event"/></onentry>
        <transition cond="v.name == 'e' &amp;&amp; v == _event" target="pass"/></state>"#;
    passes("the whole event", inner);
}
