package audit

import "strings"

// Class returns how long events of the name are kept.
func (n Name) Class() Class {
	switch n {
	case SessionRefreshed, TokenExchanged, APIKeyUsed, ClientTokenIssued, PasswordRehashed, LogoutDelivered, MailSent:
		return Routine
	case AuditPruned:
		return Retention
	}
	thing, _, _ := strings.Cut(string(n), ".")
	switch thing {
	case "login", "unlock_link", "session", "refresh", "token", "access_token", "permission", "tenant", "authorization", "consent", "code", "logout":
		return Security
	}
	switch n {
	case PasswordChanged, APIKeyRefused, APIKeyLeaked, APIKeyQuarantined, ClientRefused, MailFailed:
		return Security
	}
	return Administration
}
