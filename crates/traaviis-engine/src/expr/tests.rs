//! What expressions and templates give, as tables.

use traaviis_model::{time::Timestamp, value::Value};

use super::*;

struct World {
    data: Value,
    event: Value,
}

impl Env for World {
    fn var(&self, var: Var) -> Option<Value> {
        match var {
            Var::Data => Some(self.data.clone()),
            Var::Event => Some(self.event.clone()),
            // 2026-03-07T09:30:15.250Z, a Saturday.
            Var::Now => Some(Value::Time(Timestamp(1_772_875_815_250_000))),
            Var::Item => Some(Value::Int(7)),
            _ => None,
        }
    }
    fn field(&self, var: Var, field: &str) -> Option<Option<Value>> {
        (var == Var::Workflow).then(|| (field == "name").then(|| Value::from("order")))
    }
    fn in_state(&self, path: &str) -> bool {
        path == "open.paying"
    }
    fn random_seed(&self) -> (u64, u64) {
        (1, 2)
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn world() -> World {
    World {
        data: json(
            r#"{"holds":2,"price":2.5,"name":"Ada Lovelace","none":null,"flag":true,
                "due":"2026-03-07T10:00:00Z","tags":["b","a","b"],"nums":[3,1,2],
                "items":[{"sku":"x","qty":2,"at":{"k":1}},{"sku":"y","qty":1},{"sku":"x","qty":5}],
                "map":{"b":2,"a":1},"x-y":1,"long":"Über große Straße!"}"#,
        ),
        event: json(r#"{"name":"pay","data":{"amount":150}}"#),
    }
}

const SCOPE: Scope = Scope::EVERYWHERE.union(Scope::EVENT).union(Scope::ITEM);

/// Returns the JSON of the result, or the error after `!`.
fn run(source: &str) -> String {
    match Expr::parse(source, SCOPE) {
        Ok(expr) => match expr.eval(&world()) {
            Ok(value) => value.into_json().to_json(),
            Err(error) => format!("! {}", error.message),
        },
        Err(error) => format!("!! {}", error.message),
    }
}

#[track_caller]
fn check(table: &[(&str, &str)]) {
    let wrong: Vec<String> = table
        .iter()
        .filter_map(|(source, expected)| {
            let found = run(source);
            (found != *expected)
                .then(|| format!("{source}\n  found    {found}\n  expected {expected}"))
        })
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn literals() {
    check(&[
        ("1", "1"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("9223372036854775808", "!! `9223372036854775808` is too large"),
        ("18446744073709551615u", "18446744073709551615"),
        ("0xff", "255"),
        ("-0xff", "-255"),
        ("1.5e3", "1500.0"),
        (".5", "0.5"),
        ("1.", "!! expected a field name but found the end"),
        ("12abc", "!! `12a` is no number"),
        (r#""a\tb\x41\u00e9\U0001F600\101\"""#, r#""a\tbAé😀A\"""#),
        (r"'it''s'", "!! expected the end but found a string literal"),
        (r#"r"a\n""#, r#""a\\n""#),
        ("'''a\n'b'''", r#""a\n'b""#),
        ("\"\"\"x\"\"\"", r#""x""#),
        ("'a\nb'", "!! text does not end on its line"),
        (r"'\q'", "!! unknown escape in text"),
        (r"'\ud800'", "!! unknown escape in text"),
        (r"b'\xff\101'", r#""/0E=""#),
        ("b'abc' == b\"abc\"", "true"),
        ("[1, 'a', null, true,]", r#"[1,"a",null,true]"#),
        ("{'b': 1, 'a': {}}", r#"{"a":{},"b":1}"#),
        ("{1: 2}", "!! map keys are texts, this is int"),
        ("{'a': 1, 'a': 2}", "! a key stands twice in the map"),
        ("[1, ?data.?nope, ?data.?holds]", "[1,2]"),
        ("{?'a': data.?nope, ?'b': data.?holds}", r#"{"b":2}"#),
        ("1 // comment\n + 2", "3"),
        ("\"end", "!! text does not end"),
        ("", "!! expression is empty"),
        ("1 +", "!! expected a value but found the end"),
        ("a = 1", "!! `=` is no operator"),
        ("data.flag and true", "!! expected the end but found `and`"),
        ("§", "!! unexpected character `§`"),
    ]);
}

#[test]
fn operators() {
    check(&[
        ("1 + 2 * 3 - 4 / 2", "5"),
        ("-7 / 2", "-3"),
        ("-7 % 3", "-1"),
        ("1 + 2.5", "3.5"),
        ("data.holds * data.price", "5.0"),
        ("1u + 1", "2"),
        ("1u - 2u", "! whole number overflows 64 bits"),
        ("9223372036854775807 + 1", "! whole number overflows 64 bits"),
        ("-9223372036854775808 / -1", "! whole number overflows 64 bits"),
        ("-9223372036854775808 % -1", "0"),
        ("-(-9223372036854775808)", "! whole number overflows 64 bits"),
        ("1 / 0", "! division by zero"),
        ("1 % 0", "! division by zero"),
        ("1.0 / 0.0 > 1e300", "true"),
        ("1.5 % 1.0", "! cannot compute double % double"),
        ("'a' + 'b'", r#""ab""#),
        (
            "now - duration('1h') - '10m'",
            "! cannot compute timestamp - string; `data` holds durations as text, read it with duration(x)",
        ),
        (
            "now - '2026-01-01T00:00:00Z' - '10m'",
            "! cannot compute duration - string; `data` holds durations as text, read it with duration(x)",
        ),
        (
            "now + '10m'",
            "! cannot compute timestamp + string; `data` holds durations as text, read it with duration(x)",
        ),
        (
            "'2026-01-01T00:00:00Z' + duration('1h')",
            "! cannot compute string + duration; `data` holds times as text, read it with timestamp(x)",
        ),
        ("'a' + 1", "! cannot compute string + int; turn it into text with string(x)"),
        ("[1] + [2]", "[1,2]"),
        ("1 == 1.0 && 1u == 1 && 2 > 1.5 && 1u < 1.5", "true"),
        ("'a' < 'b' && !(b'b' < b'a') && false < true", "true"),
        ("1 < 'a'", "! cannot compare int < string"),
        ("1 == 'a'", "false"),
        ("[1, {'a': 2.0}] == [1.0, {'a': 2}]", "true"),
        ("1 in [3, 1.0] && 'a' in {'a': 1} && !(5 in [])", "true"),
        ("'a' in 'abc'", "! `in` looks into a list or a map; for texts write text.contains(part)"),
        ("true ? 1 : 1 / 0", "1"),
        ("false ? 1 : true ? 2 : 3", "2"),
        ("1 ? 2 : 3", "! the condition before `?` is int, not bool"),
        ("!data.flag", "false"),
        ("!!true", "true"),
        ("--1", "1"),
        ("data.nope && false", "false"),
        ("false && data.nope", "false"),
        ("data.nope || true", "true"),
        ("data.nope && true", "! no such key `nope` in `data`"),
        ("1 && true", "! `&&` takes bool, not int"),
        ("true || 1 / 0 > 0 || data.nope", "true"),
        ("[1,2,3][1]", "2"),
        ("[1,2,3][1.0]", "2"),
        ("[1][1]", "! no position 1 in `[1]`, it has 1"),
        ("[1][-1]", "! no position -1 in `[1]`, it has 1"),
        ("data.map['a'] + data['map'].b", "3"),
        ("data.map[1]", "! keys of `data.map` are texts, not int"),
        ("data.`x-y`", "1"),
    ]);
}

#[test]
fn fields_that_may_be_missing() {
    check(&[
        ("data.items[0].at.k", "1"),
        ("data.a", "! no such key `a` in `data`"),
        ("data.map.c.d", "! no such key `c` in `data.map`"),
        ("data.items[1].at", "! no such key `at` in `data.items[1]`"),
        ("data.none.x", "! no such key `x`: `data.none` is null"),
        ("data.holds.x", "! cannot read `x`: `data.holds` is int, not a map"),
        ("workflow.name", r#""order""#),
        ("workflow.nope", "! no such key `nope` in `workflow`"),
        ("tenant.id", "! variable `tenant` is not available here"),
        ("has(data.map.a)", "true"),
        ("has(data.map.c)", "false"),
        ("has(data.nope)", "false"),
        ("has(workflow.name) && !has(workflow.nope)", "true"),
        ("has(data.nope.x)", "! no such key `nope` in `data`"),
        ("has({'a': 1}.a)", "true"),
        ("has({'a': 1}.b)", "false"),
        ("has(data['x-y'])", "true"),
        ("has(data)", "!! `has` asks for a field"),
        ("data.?nope", "null"),
        ("data?.nope?.deep", "null"),
        ("data?.map?.a", "1"),
        ("data.?map.a", "1"),
        ("data.?map.nope", "null"),
        ("data.?map['a']", "1"),
        ("data.items[?9]", "null"),
        ("data.items[?0].sku", r#""x""#),
        ("data.?holds == 2 && data.?nope == null && data?.holds + 1 == 3", "true"),
        ("data.?nope.orValue(5)", "5"),
        ("data.?holds.orValue(1 / 0)", "2"),
        ("data.?nope.hasValue()", "false"),
        ("data.?holds.value()", "2"),
        ("data.?nope.value()", "! the optional has no value"),
        ("optional.of(1).hasValue() && !optional.none().hasValue()", "true"),
        ("data.?nope.or(data.?holds).value()", "2"),
        ("default(data.nope, 1)", "1"),
        ("data.nope.default(1)", "1"),
        ("default(data.none, 1)", "1"),
        ("default(data.none.deep.er, 1)", "1"),
        ("default(data.items[9].x, 1)", "1"),
        ("default(data.?holds, 1)", "2"),
        ("default(data.holds.x, 1)", "! cannot read `x`: `data.holds` is int, not a map"),
        ("default(1 / 0, 1)", "! division by zero"),
        ("default(1, data.nope)", "1"),
        ("default(data.nope, data.nada)", "! no such key `nada` in `data`"),
        ("coalesce(data.nope, null, data.holds, 1 / 0)", "2"),
        ("coalesce(data.nope, data.none)", "null"),
        ("default(tenant, 'none')", r#""none""#),
    ]);
}

#[test]
fn macros() {
    check(&[
        ("data.nums.all(n, n > 0)", "true"),
        ("[1, 'a'].all(n, n < 0)", "false"),
        ("[1, 'a'].all(n, n > 0)", "! cannot compare string > int"),
        ("['a', 1].exists(n, n > 0)", "true"),
        ("[].all(n, false) && ![].exists(n, true)", "true"),
        ("data.nums.exists_one(n, n == 1) && [1,1].existsOne(n, n == 1) == false", "true"),
        ("data.nums.map(n, n * 2)", "[6,2,4]"),
        ("data.nums.map(n, n > 1, n * 2)", "[6,4]"),
        ("data.nums.filter(n, n > 1)", "[3,2]"),
        ("data.map.map(k, k)", r#"["a","b"]"#),
        ("data.items.filter(item, item.qty > 1).map(i, i.sku)", r#"["x","x"]"#),
        ("[1,2].map(a, [3,4].map(b, a * b))", "[[3,4],[6,8]]"),
        ("[1].map(a, [2].map(a, a) + [a])", "[[2,1]]"),
        ("[[1],[2]].all(l, [1].exists(x, x / 0 > 1) || l.size() == 1)", "true"),
        ("data.nums.map(1, 2)", "!! the first argument of a macro is a new name"),
        ("data.nums.filter(n, n)", "! a macro asks for bool, not int"),
        ("1.all(n, true)", "! a macro walks a list or a map, not int"),
        ("(1).all(n, true)", "! a macro walks a list or a map, not int"),
        ("data.items.map(i, i.at.k)", "! no such key `at` in `i`"),
        ("data.items.map(i, has(i.at))", "[true,false,false]"),
        ("data.items.map(i, default(i.at.k, 0))", "[1,0,0]"),
    ]);
}

#[test]
fn functions_of_cel() {
    check(&[
        ("size('äö') + size([1]) + {'a': 1}.size() + size(b'abc')", "7"),
        ("int('42') + int(2.9) + int(3u) + int(timestamp('1970-01-01T00:01:00Z'))", "107"),
        ("int('x')", "! cannot make int of `x`"),
        ("int(1e19)", "! cannot make int of `1e+19`"),
        ("uint(-1)", "! cannot make uint of `-1`"),
        ("double('1.5') + double(1)", "2.5"),
        ("string(1) + string(1.0) + string(1.5) + string(true) + string('a')", r#""111.5truea""#),
        ("string(1e300)", r#""1e300""#),
        ("string([1, 'a'])", r#""[1,\"a\"]""#),
        ("string(b'abc') + string(duration('90s'))", r#""abc1m30s""#),
        ("bytes('abc')", r#""YWJj""#),
        ("bool('true') && !bool('false')", "true"),
        ("type(1) == int && type('') == string && type(null) == null_type", "true"),
        ("type(1.5)", r#""double""#),
        ("dyn(1)", "1"),
        ("'abc'.contains('b') && 'abc'.startsWith('a') && 'abc'.endsWith('c')", "true"),
        ("'abc'.matches('^a.c$') && matches('xabcx', 'b')", "true"),
        ("'abc'.matches('(')", "!! pattern is not valid: unclosed group"),
        ("'abc'.matches('a' + data.name.truncate(0))", "true"),
        ("data.holds.size()", "! `size` takes a text, list or map, not int"),
        ("lenght('a')", "!! unknown function `lenght`"),
        ("size()", "!! `size` takes 1 arguments, 0 given"),
        (
            "x.y()",
            "!! unknown variable `x`; available are `data`, `input`, `event`, `item`, `index`, `tenant`, `workflow`, `now`",
        ),
        (
            "result",
            "!! variable `result` is not available here; available are `data`, `input`, `event`, `item`, `index`, `tenant`, `workflow`, `now`",
        ),
        ("[1].all(x)", "!! `all` is not written with these arguments"),
        ("Foo{a: 1}", "!! typed messages are not supported"),
    ]);
}

#[test]
fn times() {
    check(&[
        ("timestamp('2026-03-07T10:00:00Z')", r#""2026-03-07T10:00:00.000000Z""#),
        ("timestamp('nope')", "! `nope` is not a time such as 2026-01-31T10:00:00Z"),
        ("duration('1h') + duration('30m')", r#""1h30m""#),
        ("now - duration('15s')", r#""2026-03-07T09:30:00.250000Z""#),
        ("now < data.due && data.due > now && timestamp(data.due) - now < duration('30m')", "true"),
        ("data.due - now", r#""29m44s750ms""#),
        ("now - now == duration('0s')", "true"),
        ("now.getFullYear() == 2026 && now.getMonth() == 2 && now.getDate() == 7", "true"),
        ("now.getDayOfMonth() == 6 && now.getDayOfWeek() == 6 && now.getDayOfYear() == 65", "true"),
        ("now.getHours() == 9 && now.getMinutes() == 30 && now.getSeconds() == 15", "true"),
        ("now.getMilliseconds()", "250"),
        ("now.getHours('Europe/Berlin')", "10"),
        ("now.getHours('-05:30')", "4"),
        ("now.getHours('Nowhere/Land')", "! `Nowhere/Land` is no known time zone"),
        ("data.due.getHours()", "10"),
        ("duration('90m').getHours() == 1 && duration('90m').getMinutes() == 90", "true"),
        ("add(data.due, '1d')", r#""2026-03-08T10:00:00.000000Z""#),
        ("now.add(duration('1s')) > now", "true"),
        ("format_time(now, '%Y-%m-%d %H:%M', 'Europe/Berlin')", r#""2026-03-07 10:30""#),
        ("now.format_time('%A')", r#""Saturday""#),
        ("business_day(now, 'UTC')", "false"),
        ("business_day(add(now, '2d'))", "true"),
        (
            "timestamp('9999-12-30T20:00:00Z') + duration('48h')",
            "! time is outside the years 1 to 9999",
        ),
        ("timestamp(9223372036854775807)", "! time is outside the years 1 to 9999"),
        ("-duration('1h')", r#""-1h""#),
    ]);
}

#[test]
fn functions_of_ours() {
    check(&[
        ("in_state('open.paying') && !in_state('closed')", "true"),
        ("merge({'a': 1, 'b': 1}, {'b': 2})", r#"{"a":1,"b":2}"#),
        ("data.map.merge(null, {'c': 3})", r#"{"a":1,"b":2,"c":3}"#),
        ("pick(data.map, ['a', 'z'])", r#"{"a":1}"#),
        ("omit(data.map, 'a')", r#"{"b":2}"#),
        ("get(data, 'items.0.at.k', 9)", "1"),
        ("get(data, 'items.0.nope', 9)", "9"),
        ("get(data, 'nope')", "null"),
        ("keys(data.map) + values(data.map)", r#"["a","b",1,2]"#),
        ("sum([1, 2, 3.5])", "6.5"),
        ("sum([])", "0"),
        ("sum(['a'])", "! `sum` takes numbers or durations, not string"),
        ("min(data.nums) + max(3, 7.5, 2)", "8.5"),
        ("min([])", "! `min` of an empty list"),
        ("default(min([]), 0)", "0"),
        ("max('b', 'c', 'a')", r#""c""#),
        ("max(1, 'a')", "! `max` cannot compare string and int"),
        ("avg([1, 2])", "1.5"),
        ("round(2.5) + round(-2.5)", "0"),
        ("round(2.345, 2)", "2.35"),
        ("round(1234, -2)", "1200"),
        ("floor(2.7) + ceil(2.1) + abs(-4)", "9"),
        ("clamp(15, 0, 10) + clamp(-5, 0, 10) + clamp(5, 0, 10)", "15"),
        ("sort(data.nums) + sort(data.tags)", r#"[1,2,3,"a","b","b"]"#),
        ("sort([2, 'a'])", "! `sort` cannot compare values of mixed kinds"),
        ("sort([null, 2, 1.5])", "[1.5,2,null]"),
        ("sort([0.0/0.0, 2, 1])[0]", "1"),
        ("data.items.sort_by('qty').map(i, i.qty)", "[1,2,5]"),
        ("distinct(data.tags) + distinct([1, 1.0, 2u, 2, '1'])", r#"["b","a",1,2,"1"]"#),
        ("reverse(data.nums) + [1, 'a'].reverse() + [].reverse()", r#"[2,1,3,"a",1]"#),
        ("range(5).slice(1, 3) + slice([7, 8, 9], 1) + [1].slice(5, 2)", "[1,2,8,9]"),
        ("[1].slice(-1)", "! `slice` takes whole numbers from 0, not int"),
        ("flatten([1, [2, [3]], []])", "[1,2,[3]]"),
        ("zip([1, 2, 3], ['a', 'b'])", r#"[[1,"a"],[2,"b"]]"#),
        ("range(3) + range(1, 3) + range(-1)", "[0,1,2,1,2]"),
        ("group_by(data.items, 'sku').x.map(i, i.qty)", "[2,5]"),
        ("lower('ÄB') + upper('äb') + trim('  x ')", r#""äbÄBx""#),
        ("'a,b'.split(',') + 'ab'.split('')", r#"["a","b","a","b"]"#),
        ("['a', 1, null].join('-') + [1, 2].join()", r#""a-1-12""#),
        ("'aXbX'.replace('X', '--')", r#""a--b--""#),
        ("'hello'.truncate(3) + 'hé'.truncate(9) + 'hello'.substring(1, 3)", r#""helhéel""#),
        ("'a'.truncate(-1)", "! `truncate` takes no negative number, -1 given"),
        ("slug(data.long)", r#""uber-grosse-strasse""#),
        ("json_encode({'a': [1, 1.5]})", r#""{\"a\":[1,1.5]}""#),
        ("json_decode('{\"a\": [1, null]}').a", "[1,null]"),
        ("json_decode('{')", "! text is not JSON: EOF while parsing an object at line 1 column 1"),
        (
            "json_decode('{\"$secret\": \"x\"}')",
            "! decoded JSON names a secret, which text cannot do",
        ),
        (
            "{'$secret'.truncate(data.holds + 5): 'x'}",
            "! a map with the key `$secret` is no value; write secret(\"NAME\")",
        ),
        ("base64_encode('ab') + base64_decode('YWI=') + base64_decode('YWI')", r#""YWI=abab""#),
        ("base64_decode('!')", "! text is not base64"),
        ("sha256('abc')", r#""ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad""#),
        ("url_encode('a b/ü')", r#""a%20b%2F%C3%BC""#),
        ("uuid() == uuid() || random() == random()", "false"),
        ("random() >= 0.0 && random() < 1.0 && uuid().size() == 36", "true"),
        ("approx_tokens('abcdefgh')", "2"),
        ("similarity('night', 'nacht')", "0.25"),
        ("similarity('Same', 'same')", "1.0"),
        ("secret('KEY')", "!! `secret` is not allowed here"),
    ]);
}

#[test]
fn draws_repeat_only_with_seed_place_and_count() {
    let expr = Expr::parse("[uuid(), uuid()]", SCOPE).unwrap();
    let first = expr.eval(&world()).unwrap();
    assert_eq!(first, expr.eval(&world()).unwrap());
    let mut budget = Budget::new();
    assert_eq!(first, expr.eval_with(&world(), &mut budget).unwrap());
    assert_ne!(first, expr.eval_with(&world(), &mut budget).unwrap());
    let in_loop = Expr::parse("range(3).map(i, uuid()).distinct().size()", SCOPE).unwrap();
    assert_eq!(in_loop.eval(&world()).unwrap(), Value::Int(3));
}

#[test]
fn mistakes_carry_kind_place_and_hint() {
    let error = |source: &str| Expr::parse(source, SCOPE).unwrap_err();
    let unknown = error("1 + evnt.name");
    assert_eq!((unknown.kind, unknown.offset), (ParseErrorKind::UnknownVariable, 4));
    assert_eq!(unknown.hint.as_deref(), Some("did you mean `event`?"));
    assert_eq!(error("holds > 1").hint.as_deref(), Some("fields of the data are `data.holds`"));
    let function = error("data.name.lowr()");
    assert_eq!((function.kind, function.offset), (ParseErrorKind::UnknownFunction, 10));
    assert_eq!(function.hint.as_deref(), Some("did you mean `lower`?"));
    let expr = Expr::parse("data.a + event.b", SCOPE).unwrap();
    assert!(expr.reads(Var::Event) && !expr.reads(Var::Now));
    assert!(Expr::parse("data.flag", SCOPE).unwrap().eval_bool(&world()).unwrap());
    let no_bool = Expr::parse("data.holds", SCOPE).unwrap().eval_bool(&world()).unwrap_err();
    assert_eq!(no_bool.message, "`data.holds` gives int, not bool");
}

#[track_caller]
fn render(template: &str) -> String {
    match Template::compile(&json(template), SCOPE, SecretUse::Allowed) {
        Ok(it) => match it.render(&world()) {
            Ok(value) => value.to_json(),
            Err(error) => format!("! {}", error.message),
        },
        Err(error) => {
            format!("!! {} {}: {}", error.pointer, error.error.offset, error.error.message)
        }
    }
}

#[test]
fn templates() {
    for (template, expected) in [
        (r#""plain""#, r#""plain""#),
        (r#""${data.holds}""#, "2"),
        (r#""${data.holds} left""#, r#""2 left""#),
        (r#""a${data.none}b${data.map}${data.price}${1.0}""#, r#""ab{\"a\":1,\"b\":2}2.51""#),
        (r#""$${data} $${x}""#, r#""${data} ${x}""#),
        (r#""$$${data.holds}""#, r#""$${data.holds}""#),
        (r#""cost $5 {x}""#, r#""cost $5 {x}""#),
        (r#""${ {'a': '}'}.a }""#, r#""}""#),
        (r#""${'''}''' + \"}\"} ${r'\\'}""#, r#""}} \\""#),
        (r#"{"a":[1,"${data.flag}",{"b":"x"}],"c":null}"#, r#"{"a":[1,true,{"b":"x"}],"c":null}"#),
        (r#""${now}""#, r#""2026-03-07T09:30:15.250000Z""#),
        (r#""${data.?nope}""#, "null"),
        (r#""${[duration('1s')]}""#, r#"["1s"]"#),
        (r#""${secret('KEY')}""#, r#"{"$secret":"KEY"}"#),
        (
            r#""Bearer ${secret('KEY')}""#,
            "!!  9: secret `KEY` must be the whole text, not part of one",
        ),
        (r#"{"a/b":["x","y ${data"]}"#, "!! /a~1b/1 2: `${` has no matching `}`"),
        (
            r#""x ${nope}""#,
            "!!  4: unknown variable `nope`; available are `data`, `input`, `event`, `item`, `index`, `tenant`, `workflow`, `now`",
        ),
        (r#""${}""#, "!!  2: expression is empty"),
        (r#""${data.a} x""#, "! no such key `a` in `data`"),
        (r#"["${uuid()}","${uuid()}"]"#, ""),
    ] {
        let found = render(template);
        if expected.is_empty() {
            let items = json(&found);
            let items = items.as_list().unwrap();
            assert_ne!(items[0], items[1]);
        } else {
            assert_eq!(found, expected, "{template}");
        }
    }
    let constant =
        Template::compile(&json(r#"{"a":"$${","b":"${1 + 1}"}"#), SCOPE, SecretUse::Refused);
    assert!(constant.unwrap().is_constant());
    assert!(Template::compile(&json(r#""${secret('K')}""#), SCOPE, SecretUse::Refused).is_err());
    assert!(Template::compile(&json(r#"{"$secret":"K"}"#), SCOPE, SecretUse::Refused).is_err());
    assert!(
        Template::compile(&json(r#"{"$secret":"${data.name}"}"#), SCOPE, SecretUse::Allowed)
            .is_err()
    );
}

#[test]
fn hostile_sources_are_refused_without_harm() {
    let kind = |source: &str| Expr::parse(source, SCOPE).unwrap_err().kind;
    for (open, inside, close) in [
        ("(", "1", ")"),
        ("[", "1", "]"),
        ("!", "true", ""),
        ("-", "data", ""),
        ("{'a':", "1", "}"),
        ("size(", "1", ")"),
        ("true?1:", "1", ""),
        ("data[", "1", "]"),
        ("1+(", "1", ")"),
    ] {
        let count = 4_000 / (open.len() + close.len());
        let source = open.repeat(count) + inside + &close.repeat(count);
        assert_eq!(kind(&source), ParseErrorKind::Limit, "{open}");
        assert!(Expr::parse(&open.repeat(count), SCOPE).is_err());
    }
    for chain in [".a", "[0]", "+1", ".size()", "?.a", ".map(x,x)"] {
        assert_eq!(kind(&format!("data{}", chain.repeat(400))), ParseErrorKind::Limit, "{chain}");
    }
    assert_eq!(kind(&"a".repeat(4_097)), ParseErrorKind::Limit);
    assert_eq!(kind(&format!("'x'.matches('{}')", r"(\\pL{1000}){1000}")), ParseErrorKind::Syntax);
    assert_eq!(run(&("true".to_owned() + &" && true".repeat(500))), "true");
}

#[test]
fn costly_expressions_end_at_the_limit() {
    let mut doubling = "[1]".to_owned();
    for _ in 0..50 {
        doubling += ".map(x, [x, x])";
    }
    let mut nested = "['aaaaaaaaaaaaaaaaaaaaaaaa']".to_owned();
    for _ in 0..20 {
        nested += ".map(x, [x, x, x, x, x, x])";
    }
    let text = "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'";
    for source in [
        "range(1000000000)".to_owned(),
        "range(99000).map(x, x)".to_owned(),
        "range(-9223372036854775808, 9223372036854775807)".to_owned(),
        "range(900).map(x, range(900).map(y, x * y))".to_owned(),
        "range(300).all(x, range(300).all(y, range(300).all(z, true)))".to_owned(),
        format!("range(5000).map(x, {text}).join('').matches('(a+)+$') && false"),
        format!("range(3000).map(x, range(20).map(y, {text}).join(''))"),
        "range(20).map(x, 'a').join('').split('').map(x, range(2000)).flatten().sort().distinct().size() > 1 ? range(100000) : []".to_owned(),
        format!("{nested} == {nested}"),
        format!("json_encode({nested})"),
        doubling.clone(),
        format!("[{doubling}].distinct()"),
        format!("{doubling} == {doubling}"),
        format!("string({doubling})"),
        format!("[{doubling}].join()"),
        format!("group_by([{{'a': {doubling}}}], 'a')"),
        "range(300).map(x, 'a'.matches(string(x)))".to_owned(),
        r"range(1000).map(x, 'a'.matches('\\pL{2}' + string(x)))".to_owned(),
        r"range(1000).map(x, 'a'.matches('\\w{2}' + string(x)))".to_owned(),
        r"range(99).map(x, range(9000).map(y, 'a').join('').matches('(\\w{2}b?){2}c' + data.name.truncate(0)))".to_owned(),
        "range(90).map(x, sort(range(2000).map(x, sha256(string(x)))))".to_owned(),
        "range(9000).map(x, format_time(now, '%c %c %c', 'Europe/Berlin'))".to_owned(),
        "range(9000).map(x, timestamp(data.due).getHours('Europe/Berlin'))".to_owned(),
        "range(18000).map(x, timestamp(data.due) < now)".to_owned(),
        "range(18000).map(x, merge(data, {'a': x}).size())".to_owned(),
        "range(9000).map(x, data.items.group_by('sku').size() + slug(data.long).size())".to_owned(),
        "range(9000).map(x, similarity(data.long, data.name) + round(random(), 2))".to_owned(),
        "range(40000) + range(40000) + range(40000)".to_owned(),
        "default(range(200000), 1)".to_owned(),
        "range(200000) == [] || true".to_owned(),
        "[1].exists(x, range(200000) == []) || true".to_owned(),
        "'a'.replace('', range(50000).map(x, 'xxxxxxxxxxxxxxxxx').join('')).replace('', range(1000).join())".to_owned(),
    ] {
        let expr = Expr::parse(&source, SCOPE).unwrap_or_else(|it| panic!("{source}: {it}"));
        let Err(error) = expr.eval(&world()) else { panic!("{source} gave a value") };
        assert_eq!(error.code, EvalError::LIMIT, "{source}: {}", error.message);
    }
}

#[test]
fn the_deepest_expressions_fit_the_stack() {
    let loops = "[1].map(x, ".repeat(31) + "1" + &")".repeat(31);
    assert_eq!(run(&loops), "[".repeat(31) + "1" + &"]".repeat(31));
    let choices = "!data.flag ? 1 : ".repeat(60) + "2";
    assert_eq!(run(&choices), "2");
    let calls = "default(data.nope, [".repeat(20) + "1" + &"])".repeat(20);
    assert_eq!(run(&calls), "[".repeat(20) + "1" + &"]".repeat(20));
    let sums = "(data.holds + ".repeat(60) + "1" + &")".repeat(60);
    assert_eq!(run(&sums), "121");
}

#[test]
fn catastrophic_patterns_take_linear_time() {
    let source = "range(2000).map(x, 'a').join('') + '!'";
    assert_eq!(run(&format!("({source}).matches('^(a+)+$')")), "false");
    assert_eq!(run(&format!("({source}).matches('(a*)*(b|c)*[^!]$')")), "false");
}
