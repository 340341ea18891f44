package audit

import "slices"

// Name names what happened: the thing, a dot, the past participle.
type Name string

// Every event there is. A name, once released, keeps its code and meaning.
const (
	LoginSucceeded       Name = "login.succeeded"
	LoginFailed          Name = "login.failed"
	LoginLocked          Name = "login.locked"     // a counter reached its limit
	LoginRefused         Name = "login.refused"    // an attempt while locked or throttled
	LoginUnlocked        Name = "login.unlocked"   // by an administrator
	UnlockLinkUsed       Name = "unlock_link.used" // one browser passes the locks of one account
	UnlockLinkRefused    Name = "unlock_link.refused"
	UserRegistered       Name = "user.registered"
	UserCreated          Name = "user.created"
	UserUpdated          Name = "user.updated"
	UserDisabled         Name = "user.disabled"
	UserEnabled          Name = "user.enabled"
	PasswordChanged      Name = "password.changed"
	PasswordRehashed     Name = "password.rehashed"
	OrgCreated           Name = "org.created"
	OrgUpdated           Name = "org.updated"
	MemberAdded          Name = "member.added"
	MemberRemoved        Name = "member.removed"
	MemberRoleSet        Name = "member.role_set"
	InvitationCreated    Name = "invitation.created"
	InvitationResent     Name = "invitation.resent"
	InvitationRevoked    Name = "invitation.revoked"
	InvitationAccepted   Name = "invitation.accepted"
	InvitationRefused    Name = "invitation.refused" // somebody had the link, and it was no good any more
	RoleSet              Name = "role.set"
	RoleDeleted          Name = "role.deleted"
	SessionRefreshed     Name = "session.refreshed" // routine: first per hour
	SessionRevoked       Name = "session.revoked"
	RefreshRefused       Name = "refresh.refused" // expired, stale, revoked
	RefreshReused        Name = "refresh.reuse_detected"
	TokenRevoked         Name = "token.revoked"
	TokenExchanged       Name = "token.exchanged"      // routine: first per hour
	AccessTokenRefused   Name = "access_token.refused" // one for each source and minute: how many and why
	APIKeyCreated        Name = "api_key.created"
	APIKeyUpdated        Name = "api_key.updated"
	APIKeyRotated        Name = "api_key.rotated"
	APIKeyRevoked        Name = "api_key.revoked"
	APIKeyUsed           Name = "api_key.used" // routine: first per hour
	APIKeyRefused        Name = "api_key.refused"
	APIKeyDue            Name = "api_key.rotation_due"
	APIKeyLeaked         Name = "api_key.leaked" // somebody reported it, and could show it
	APIKeyQuarantined    Name = "api_key.quarantined"
	APIKeyReleased       Name = "api_key.released"
	APIKeyTransferred    Name = "api_key.transferred" // it has another owner
	APIKeyExpiring       Name = "api_key.expiring"    // once at each notice
	APIKeyExpired        Name = "api_key.expired"
	APIKeyPolicySet      Name = "api_key.policy_set" // what an organisation lets its keys be
	ServiceCreated       Name = "service_account.created"
	ServiceUpdated       Name = "service_account.updated"
	ServiceRoleSet       Name = "service_account.role_set"
	ServiceDisabled      Name = "service_account.disabled"
	ServiceEnabled       Name = "service_account.enabled"
	ServiceDeleted       Name = "service_account.deleted"
	PermissionDenied     Name = "permission.denied"
	CrossOrgDenied       Name = "tenant.cross_org_denied"
	SigningKeyAdded      Name = "signing_key.created"
	SigningKeyRotated    Name = "signing_key.rotated"
	SigningKeyRemoved    Name = "signing_key.removed" // all it signed has expired
	SigningKeyRevoked    Name = "signing_key.revoked"
	MasterKeyChanged     Name = "master_key.changed"   // everything is being sealed under another one
	MasterKeyResealed    Name = "master_key.resealed"  // and is by now
	MasterKeyRewrapped   Name = "master_key.rewrapped" // by the newest key of the key management service
	ClientCreated        Name = "client.created"
	ClientUpdated        Name = "client.updated"
	ClientSecretRotated  Name = "client.secret_rotated"
	ClientDeleted        Name = "client.deleted"
	ClientTokenIssued    Name = "client.token_issued"   // routine: first per hour
	ClientRefused        Name = "client.refused"        // it did not prove who it is
	LogoutDelivered      Name = "logout.delivered"      // a client was told of a logout
	LogoutFailed         Name = "logout.failed"         // it refused to hear, or never answered
	AuthorizationGranted Name = "authorization.granted" // a code was given
	AuthorizationDenied  Name = "authorization.denied"
	ConsentGranted       Name = "consent.granted"
	ConsentWithdrawn     Name = "consent.withdrawn"
	CodeRedeemed         Name = "code.redeemed"
	CodeReused           Name = "code.reused" // a second use: what the first gave has ended
	SetupCompleted       Name = "setup.completed"
	WebhookCreated       Name = "webhook.created"
	WebhookUpdated       Name = "webhook.updated"
	WebhookSecretRotated Name = "webhook.secret_rotated"
	WebhookDeleted       Name = "webhook.deleted"
	WebhookTested        Name = "webhook.tested"   // it is sent to the one webhook that is tested
	WebhookReplayed      Name = "webhook.replayed" // somebody wants something sent again
	WebhookDisabled      Name = "webhook.disabled" // by us: it answered 410, or took nothing for days
	WebhookDeadLettered  Name = "webhook.dead_lettered"
	MailSent             Name = "mail.sent"    // a mail server took it
	MailFailed           Name = "mail.failed"  // it was refused, or tried often enough
	AuditPruned          Name = "audit.pruned" // retention removed events: of which class, from before when, how many
)

// entry is what the catalogue says of one name.
type entry struct {
	name Name
	code string // TH, four digits, and I (information), W (warning) or E (error)
}

var catalogue = []entry{
	{LoginSucceeded, "TH1001I"}, {LoginFailed, "TH1002E"}, {LoginLocked, "TH1003W"}, {LoginRefused, "TH1004W"}, {LoginUnlocked, "TH1005I"},
	{UnlockLinkUsed, "TH1006I"}, {UnlockLinkRefused, "TH1007W"},
	{UserRegistered, "TH1101I"}, {UserCreated, "TH1102I"}, {UserUpdated, "TH1103I"}, {UserDisabled, "TH1104I"}, {UserEnabled, "TH1105I"},
	{PasswordChanged, "TH1111I"}, {PasswordRehashed, "TH1112I"},
	{OrgCreated, "TH1201I"}, {OrgUpdated, "TH1202I"}, {MemberAdded, "TH1211I"}, {MemberRemoved, "TH1212I"}, {MemberRoleSet, "TH1213I"},
	{RoleSet, "TH1221I"}, {RoleDeleted, "TH1222I"},
	{ServiceCreated, "TH1231I"}, {ServiceUpdated, "TH1232I"}, {ServiceRoleSet, "TH1233I"},
	{ServiceDisabled, "TH1234I"}, {ServiceEnabled, "TH1235I"}, {ServiceDeleted, "TH1236I"},
	{InvitationCreated, "TH1241I"}, {InvitationResent, "TH1242I"}, {InvitationRevoked, "TH1243I"}, {InvitationAccepted, "TH1244I"}, {InvitationRefused, "TH1245W"},
	{SessionRefreshed, "TH1301I"}, {SessionRevoked, "TH1302I"}, {RefreshRefused, "TH1303W"}, {RefreshReused, "TH1304E"}, {TokenRevoked, "TH1305I"},
	{TokenExchanged, "TH1306I"}, {AccessTokenRefused, "TH1307W"},
	{APIKeyCreated, "TH1401I"}, {APIKeyUpdated, "TH1402I"}, {APIKeyRotated, "TH1403I"}, {APIKeyRevoked, "TH1404I"},
	{APIKeyUsed, "TH1405I"}, {APIKeyRefused, "TH1406W"}, {APIKeyDue, "TH1407W"},
	{APIKeyLeaked, "TH1408W"}, {APIKeyQuarantined, "TH1409W"}, {APIKeyReleased, "TH1410I"},
	{APIKeyTransferred, "TH1411I"}, {APIKeyExpiring, "TH1412W"}, {APIKeyExpired, "TH1413W"},
	{APIKeyPolicySet, "TH1414W"},
	{PermissionDenied, "TH1501W"}, {CrossOrgDenied, "TH1502W"},
	{SigningKeyAdded, "TH1601I"}, {SigningKeyRotated, "TH1602I"}, {SigningKeyRemoved, "TH1603I"}, {SigningKeyRevoked, "TH1604W"},
	{MasterKeyChanged, "TH1605W"}, {MasterKeyResealed, "TH1606I"}, {MasterKeyRewrapped, "TH1607I"},
	{ClientCreated, "TH1611I"}, {ClientUpdated, "TH1612I"}, {ClientSecretRotated, "TH1613I"}, {ClientDeleted, "TH1614I"},
	{ClientTokenIssued, "TH1615I"}, {ClientRefused, "TH1616W"},
	{LogoutDelivered, "TH1621I"}, {LogoutFailed, "TH1622W"},
	{AuthorizationGranted, "TH1631I"}, {AuthorizationDenied, "TH1632W"}, {CodeRedeemed, "TH1633I"}, {CodeReused, "TH1634E"},
	{ConsentGranted, "TH1635I"}, {ConsentWithdrawn, "TH1636I"},
	{SetupCompleted, "TH1701I"},
	{WebhookCreated, "TH1721I"}, {WebhookUpdated, "TH1722I"}, {WebhookSecretRotated, "TH1723I"}, {WebhookDeleted, "TH1724I"},
	{WebhookTested, "TH1725I"}, {WebhookReplayed, "TH1726I"}, {WebhookDisabled, "TH1727W"}, {WebhookDeadLettered, "TH1728W"},
	{MailSent, "TH1711I"}, {MailFailed, "TH1712W"},
	{AuditPruned, "TH1731I"},
}

// Code returns the stable code of the name, for products that file by number;
// empty where the name is not in the catalogue.
func (n Name) Code() string {
	if i := slices.IndexFunc(catalogue, func(e entry) bool { return e.name == n }); i >= 0 {
		return catalogue[i].code
	}
	return ""
}

// Names lists every event there is, in the order of their codes.
func Names() []Name {
	out := make([]Name, len(catalogue))
	for i, e := range catalogue {
		out[i] = e.name
	}
	return out
}
