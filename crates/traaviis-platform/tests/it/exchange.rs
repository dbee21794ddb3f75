//! Tokens that are exchanged for less: how long they live, and with what they end.

use traaviis_model::Span;
use traaviis_platform::{Settings, exchange::Wanted};

use crate::world::{World, code, via};

fn wanted(subject: &str) -> Wanted<'_> {
    Wanted { subject, audience: None, scope: None, life: None }
}

#[test]
fn it_lives_no_longer_than_the_first_or_an_hour() {
    let day = Span::secs(24 * 3_600);
    for (access_ttl, after, life, lives) in [
        (Span::secs(900), 600, None, 300),
        (Span::secs(900), 600, Some(60), 60),
        (Span::secs(900), 600, Some(86_400), 300),
        (day, 600, None, 3_600),
        (day, 600, Some(86_400), 3_600),
        (day, 86_000, None, 400),
    ] {
        let world = World::new().with_settings(Settings { access_ttl, ..Settings::default() });
        let ada = world.register("ada@example.org");
        world.clock.advance(Span::secs(after));
        let caller = world.caller(&ada);
        let wanted = Wanted { life: life.map(Span::secs), ..wanted(&ada.access_token) };
        let given = world.platform.exchange_token(&caller, &wanted).unwrap();
        assert_eq!(given.expires_in, Span::secs(lives), "{access_ttl} {after} {life:?}");
        let narrow = world.platform.authenticate(&given.access_token, via()).unwrap();
        assert_eq!(world.platform.recheck(&narrow), Ok(()));
        world.clock.advance(Span::secs(lives));
        // A request has the leeway of clocks that differ; what stays open is looked at by ours.
        assert_eq!(code(world.platform.recheck(&narrow)), "token_expired");
        world.clock.advance(Span::secs(6));
        let late = world.platform.authenticate(&given.access_token, via());
        assert_eq!(code(late), "token_expired");
    }
}

#[test]
fn it_ends_with_the_session_and_is_refused_by_what_has_ended() {
    let world = World::new();
    let ada = world.register("ada@example.org");
    let caller = world.caller(&ada);
    let given = world.platform.exchange_token(&caller, &wanted(&ada.access_token)).unwrap();
    let narrow = world.platform.authenticate(&given.access_token, via()).unwrap();
    let again = world.platform.exchange_token(&narrow, &wanted(&given.access_token)).unwrap();
    assert_eq!((again.scopes, again.tenant), (given.scopes, given.tenant));
    world.platform.log_out(&caller).unwrap();
    for token in [&given.access_token, &again.access_token] {
        assert_eq!(code(world.platform.authenticate(token, via())), "session_expired");
    }
    let subject = wanted(&given.access_token);
    assert_eq!(code(world.platform.exchange_token(&narrow, &subject)), "session_expired");
    // In the last second nothing is left to give out.
    let ada = world.log_in("ada@example.org");
    let caller = world.caller(&ada);
    world.clock.advance(Span::secs(900));
    let subject = wanted(&ada.access_token);
    assert_eq!(code(world.platform.exchange_token(&caller, &subject)), "token_expired");
}
