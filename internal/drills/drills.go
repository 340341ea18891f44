// Package drills rehearses the worst days of a deployment: attacks on its
// accounts and credentials, an audit log that cannot be written, crashes, disks
// and databases that fail. Its tests say what must be seen of each, in the
// replies, the audit log, the metrics and the alerts.
//
// The tests are sized for every run of CI. TOKENHOUSE_TEST_DRILLS=full makes
// them as large as the promises are: `make drills`.
package drills
