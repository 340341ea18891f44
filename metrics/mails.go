package metrics

import "github.com/prometheus/client_golang/prometheus"

// mailResults are how attempts to send a mail end.
var mailResults = closed{"delivered", "retried", "refused", "given_up"}

func newMails(r *prometheus.Registry) counters {
	c := newCounters("tokenhouse_mails_total", "Attempts to send a mail, by how they ended.", label{"result", mailResults})
	c.register(r)
	return c
}

// MailSent counts an attempt to send a mail, by how it ended.
func (s *Set) MailSent(result string) { s.mails.inc(result) }
