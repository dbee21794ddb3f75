//! Use cases of invitations: a token by which somebody becomes a member.
//!
//! The address that is invited rests sealed with a key of the invitation's own, which is destroyed
//! once it is answered. The token is told once and rests as a hash: by mail, and to whoever invites
//! where mail goes nowhere or into files; so whoever shows it has not proved for good that the
//! address is theirs.

use serde_json::json;
use traaviis_model::{
    InvitationId, Span, TenantCtx, TenantId, Text, UserId, permission::PermissionSet,
};
use traaviis_policy::plan::Metric;
use traaviis_ports::vault::{Place, Unsealed};

use crate::{
    accounts::{LoggedIn, name_of},
    audit::{Act, Via},
    caller::{Caller, Entered, as_user, role_of},
    error::Error,
    ledger::{Changes, Document, Documents},
    mail::Letter,
    members::{could_invite, granted, shown},
    password,
    platform::{Platform, engine},
    rules::Rules,
    tenant::{INVITATIONS_MAX, Invitation, Member, MemberStatus, Tenant},
    token::{Opaque, is_of},
    user::{self, Personal, PlatformRole},
};

/// How long an invitation stays open.
pub const INVITATION_LIFE: Span = Span::secs(7 * 24 * 3_600);

/// An invitation as those see it who may invite.
#[derive(Clone, Debug, PartialEq)]
pub struct Invited {
    /// The invitation.
    pub invitation: Invitation,
    /// Who is invited.
    pub email: String,
    /// The token; told when it is made, and never again. None where it comes by mail alone.
    pub token: Option<String>,
}

/// Who accepts an invitation without having logged in.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// Password to come.
    pub password: String,
    /// Name.
    pub name: Option<String>,
}

impl Platform {
    /// Invites somebody.
    pub fn invite(
        &self,
        caller: &Caller,
        entered: &Entered,
        email: &str,
        role: &str,
        permissions: Option<PermissionSet>,
    ) -> Result<Invited, Error> {
        let email = user::email(email)?;
        let (tenant, now) = (entered.ctx.tenant(), self.now());
        let id = InvitationId(self.fresh_id()?);
        let (token, token_hash) = Opaque::Invitation.make(&[tenant.0, id.0], &self.entropy)?;
        let invitation = Invitation {
            id,
            email: self.seal_address(&entered.ctx, id, &email)?.to_string(),
            role: role.into(),
            permissions,
            invited_by: caller.user,
            token_hash,
            expires_at: now.plus(INVITATION_LIFE),
            sent_count: 1,
        };
        let member = self.lookup(|it| it.user(&email));
        let before = self.invitations_to(&entered.ctx, &email)?;
        self.admit_letter(entered, &email)?;
        self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            let (base, carried, sees) = role_of(documents, role)?;
            granted(&entered.standing, base, permissions.unwrap_or(carried), None)?;
            shown(entered, sees, None)?;
            if let Some(user) = member
                && documents.get::<Member>(&user.to_string())?.is_some()
            {
                return Err(Error::new("already_exists", "they are a member already"));
            }
            if documents.count::<Invitation>() >= INVITATIONS_MAX {
                let message = format!("at most {INVITATIONS_MAX} invitations are open at once");
                return Err(Error::new("quota_exceeded", message));
            }
            self.admit(documents, Metric::Members, documents.count::<Member>() as u64)?;
            changes.put(&invitation);
            // One address has one token: the newest, with the role that was meant last.
            close(documents, changes, &before, "invitation.replaced")?;
            let act = Act::done("member.invited", Invitation::KIND, id.to_string());
            changes.act(act.with(json!({ "role": role })));
            Ok(())
        })?;
        before.into_iter().try_for_each(|it| self.forget_address(&entered.ctx, it))?;
        self.write_invitation(&entered.ctx, &email, &token);
        Ok(Invited { invitation, email, token: self.told_to_inviter(token) })
    }

    /// Returns the token for whoever invites, unless it comes to the invited by mail: then showing
    /// it proves whose the address is.
    fn told_to_inviter(&self, token: String) -> Option<String> {
        (!self.outbox.is_private()).then_some(token)
    }

    /// Returns the invitations of a tenant to an address.
    fn invitations_to(&self, ctx: &TenantCtx, email: &str) -> Result<Vec<InvitationId>, Error> {
        let open = self.ledgers.read(ctx, |it| it.list::<Invitation>(""))?;
        let mut found = Vec::new();
        for invitation in open.into_iter().map(|it| it.it) {
            // One that was closed meanwhile has no address any more.
            if self.address(ctx, &invitation).is_ok_and(|it| it == email) {
                found.push(invitation.id);
            }
        }
        Ok(found)
    }

    /// Refuses a letter where there were too many; whoever has none sent may invite as they like.
    fn admit_letter(&self, entered: &Entered, email: &str) -> Result<(), Error> {
        match self.outbox.is_open() {
            true => {
                let to = (entered.ctx.tenant(), email);
                self.letters.admit(&entered.ctx.actor().text(), to, self.now())
            }
            false => Ok(()),
        }
    }

    fn write_invitation(&self, ctx: &TenantCtx, email: &str, token: &str) {
        // It was there a moment ago; whoever deletes it meanwhile invites nobody.
        if let Ok(tenant) = self.tenant(ctx) {
            self.write_to(email, Letter::Invited { tenant: &tenant.it.name, token });
        }
    }

    /// Returns the open invitations of a tenant, by id.
    pub fn invitations(&self, entered: &Entered) -> Result<Vec<Invited>, Error> {
        let open = self.ledgers.read(&entered.ctx, |it| it.list::<Invitation>(""))?;
        let open = open.into_iter().map(|it| it.it).filter(|it| it.expires_at > self.now());
        open.map(|invitation| {
            let email = self.address(&entered.ctx, &invitation)?;
            Ok(Invited { invitation, email, token: None })
        })
        .collect()
    }

    /// Makes a new token for an invitation, and more time; from now on it is the caller's.
    pub fn resend_invitation(
        &self,
        caller: &Caller,
        entered: &Entered,
        id: InvitationId,
    ) -> Result<Invited, Error> {
        let tenant = entered.ctx.tenant();
        let (token, hash) = Opaque::Invitation.make(&[tenant.0, id.0], &self.entropy)?;
        let found = self.ledgers.get::<Invitation>(&entered.ctx, &id.to_string())?;
        let found = found.ok_or_else(|| absent(id))?.it;
        self.admit_letter(entered, &self.address(&entered.ctx, &found)?)?;
        let invitation =
            self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
                let found = documents.get::<Invitation>(&id.to_string())?;
                let mut found = found.ok_or_else(|| absent(id))?;
                // Whoever is told the token can become what it makes of its bearer.
                let (base, carried, sees) = role_of(documents, &found.role)?;
                let permissions = found.permissions.unwrap_or(carried);
                granted(&entered.standing, base, permissions, None)?;
                shown(entered, sees, None)?;
                found.token_hash = hash;
                found.expires_at = self.now().plus(INVITATION_LIFE);
                found.sent_count += 1;
                found.invited_by = caller.user;
                changes.put(&found);
                changes.act(Act::done("invitation.resent", Invitation::KIND, id.to_string()));
                Ok(found)
            })?;
        let email = self.address(&entered.ctx, &invitation)?;
        self.write_invitation(&entered.ctx, &email, &token);
        Ok(Invited { invitation, email, token: self.told_to_inviter(token) })
    }

    /// Takes an invitation back.
    pub fn revoke_invitation(&self, entered: &Entered, id: InvitationId) -> Result<(), Error> {
        self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            documents.get::<Invitation>(&id.to_string())?.ok_or_else(|| absent(id))?;
            changes.remove::<Invitation>(&id.to_string());
            changes.act(Act::done("invitation.revoked", Invitation::KIND, id.to_string()));
            Ok(())
        })?;
        self.forget_address(&entered.ctx, id)
    }

    /// Accepts an invitation as the user who has logged in; the address must be the one invited.
    pub fn accept(&self, caller: &Caller, token: &str) -> Result<TenantId, Error> {
        caller.session()?;
        let email = self.account(caller.user)?.personal.email;
        self.become_member(token, &email, &caller.via, caller.user)
    }

    /// Accepts an invitation as somebody new, and logs them in. Who has an account logs in first.
    pub fn accept_as_new(&self, token: &str, new: &NewUser, via: &Via) -> Result<LoggedIn, Error> {
        let (ctx, invitation) = self.invitation_of(token)?;
        let email = self.address(&ctx, &invitation)?;
        if self.lookup(|it| it.user(&email)).is_some() {
            let message = "there is an account with the invited address; log in, then accept";
            return Err(Error::new("already_exists", message));
        }
        let name = match &new.name {
            Some(name) => user::name(name)?,
            None => name_of(&email),
        };
        let rules = self.ledgers.read(&ctx, Rules::of)?;
        let chars_min = rules.password_chars_min(self.settings.password_chars_min);
        password::check(&new.password, chars_min, &[&name, &email])?;
        let hash = self.hasher.hash(&new.password)?;
        let personal = Personal {
            // Who invites has the token, too: it proves nothing about the address.
            password: Some(hash),
            ..Personal::new(email.clone(), name)
        };
        let user = self.new_user(&personal, PlatformRole::User, via)?;
        let tenant = self.become_member(token, &email, via, user)?;
        self.ask_to_confirm(user, &email, via)?;
        self.begin_session(user, Some(tenant), &["pwd"], via)
    }

    fn become_member(
        &self,
        token: &str,
        email: &str,
        via: &Via,
        user: UserId,
    ) -> Result<TenantId, Error> {
        let (ctx, invitation) = self.invitation_of(token)?;
        if self.address(&ctx, &invitation)? != email {
            return Err(Error::new("forbidden", "the invitation is for another e-mail address"));
        }
        let id = invitation.id;
        // Those of an earlier release may stand beside it, and must not outlive the membership.
        let mut others = self.invitations_to(&ctx, email)?;
        others.retain(|it| *it != id);
        self.ledgers.change(&as_user(ctx.tenant(), user), via, |documents, changes| {
            // It may have been used or taken back since.
            let found = documents.get::<Invitation>(&id.to_string())?;
            let found = found.filter(|it| is_of(token, &it.token_hash)).ok_or_else(spent)?;
            if documents.get::<Tenant>("tenant")?.is_none() || !could_invite(documents, &found)? {
                return Err(spent());
            }
            self.admit(documents, Metric::Members, documents.count::<Member>() as u64)?;
            let member = Member {
                user_id: user,
                role: found.role,
                permissions: found.permissions,
                data_access: None,
                status: MemberStatus::Active,
                joined_at: self.now(),
                invited_by: Some(found.invited_by),
            };
            changes.put(&member);
            changes.remove::<Invitation>(&id.to_string());
            close(documents, changes, &others, "invitation.replaced")?;
            let act = Act::done("member.joined", Member::KIND, user.to_string());
            changes.act(act.with(json!({ "invitation": id, "role": member.role })));
            Ok(())
        })?;
        self.forget_address(&ctx, id)?;
        others.into_iter().try_for_each(|it| self.forget_address(&ctx, it))?;
        Ok(ctx.tenant())
    }

    fn invitation_of(&self, token: &str) -> Result<(TenantCtx, Invitation), Error> {
        let [tenant, id] = Opaque::Invitation.ids::<2>(token).ok_or_else(spent)?;
        let ctx = TenantCtx::keeper_of(TenantId(tenant));
        let found = self.ledgers.get::<Invitation>(&ctx, &id.to_string())?.map(|it| it.it);
        let is_good = |it: &Invitation| is_of(token, &it.token_hash) && it.expires_at > self.now();
        let invitation = found.filter(is_good).ok_or_else(spent)?;
        match self.ledgers.read(&ctx, |it| could_invite(it, &invitation))? {
            true => Ok((ctx, invitation)),
            false => Err(spent()),
        }
    }

    /// Takes invitations out whose time is over; called from time to time.
    pub fn end_old_invitations(&self) -> Result<(), Error> {
        for tenant in self.ledgers.tenants() {
            let ctx = TenantCtx::keeper_of(tenant);
            let over: Vec<InvitationId> = self
                .ledgers
                .read(&ctx, |it| it.list::<Invitation>(""))?
                .iter()
                .filter(|it| it.it.expires_at <= self.now())
                .map(|it| it.it.id)
                .collect();
            for id in over {
                self.ledgers.change(&ctx, &engine(), |_, changes| {
                    changes.remove::<Invitation>(&id.to_string());
                    changes.act(Act::done("invitation.expired", Invitation::KIND, id.to_string()));
                    Ok(())
                })?;
                self.forget_address(&ctx, id)?;
            }
        }
        Ok(())
    }

    fn seal_address(&self, ctx: &TenantCtx, id: InvitationId, email: &str) -> Result<Text, Error> {
        let (subject, id) = (subject_of(id), id.to_string());
        let place = Place { subject: &subject, kind: Invitation::KIND, id: &id };
        Ok(self.vault.seal(ctx, place, email.as_bytes(), self.now())?)
    }

    fn address(&self, ctx: &TenantCtx, invitation: &Invitation) -> Result<String, Error> {
        let (subject, id) = (subject_of(invitation.id), invitation.id.to_string());
        let place = Place { subject: &subject, kind: Invitation::KIND, id: &id };
        match self.vault.open(ctx, place, &invitation.email)? {
            Unsealed::Plain(plain) => Ok(String::from_utf8_lossy(&plain).into_owned()),
            Unsealed::Erased => Err(spent()),
        }
    }

    fn forget_address(&self, ctx: &TenantCtx, id: InvitationId) -> Result<(), Error> {
        Ok(self.vault.destroy(ctx, &subject_of(id), self.now())?)
    }
}

pub(crate) fn subject_of(id: InvitationId) -> String {
    format!("invitation:{id}")
}

/// Takes invitations out that are still open.
fn close(
    documents: &Documents,
    changes: &mut Changes,
    all: &[InvitationId],
    action: &'static str,
) -> Result<(), Error> {
    for id in all.iter().map(InvitationId::to_string) {
        if documents.get::<Invitation>(&id)?.is_some() {
            changes.remove::<Invitation>(&id);
            changes.act(Act::done(action, Invitation::KIND, id));
        }
    }
    Ok(())
}

fn absent(id: InvitationId) -> Error {
    Error::not_found(Invitation::KIND, &id.to_string())
}

fn spent() -> Error {
    Error::new("not_found", "the invitation is not open any more; ask for another one")
}
