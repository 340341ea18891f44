package house

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/internal/tracing"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
	"github.com/tokenhouse/tokenhouse/keys/masterkey"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
	"github.com/tokenhouse/tokenhouse/keys/signing"
	"github.com/tokenhouse/tokenhouse/metrics"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/server"
	"github.com/tokenhouse/tokenhouse/storage"
	"github.com/tokenhouse/tokenhouse/storage/gormstore"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// Env is what a house needs from outside. Now and Random are required.
type Env struct {
	Now    func() time.Time
	Random io.Reader
	Logger *slog.Logger    // slog.Default where nil
	Build  Build           // for the metrics
	Tracer *tracing.Tracer // of requests; off where nil
	// Patient waits for a database that does not answer yet, until the context
	// ends, instead of failing at once.
	Patient bool
	// Serving is a process that answers requests: others may wait until it has
	// heard of a change. A command beside the server is none.
	Serving bool
	// ClockSkew is how far Now may be from the database's clock; they are not
	// compared where it is zero.
	ClockSkew time.Duration
	// Hooks watch or disturb the database; tests use them.
	Hooks gormstore.Hooks
	// Process is told to the receivers of the audit log.
	Process Process
}

// Build is what runs.
type Build struct{ Version, Revision string }

// Doors are what answers HTTP.
type Doors struct {
	Handler http.Handler // public
	Ops     http.Handler // metrics and health
}

// House is a whole token server. The services are for the command line and for
// tests.
type House struct {
	Doors

	DB        storage.Backend
	Feed      *changes.Feed
	Ring      *signing.Ring
	Directory *accounts.Directory
	People    *accounts.People
	Logins    *accounts.Authenticator
	Sessions  *tokens.Service
	APIKeys   *apikeys.Service
	Clients   *oauth.Clients
	Metrics   *metrics.Set

	conf  Config
	env   Env
	parts parts
	state state
}

// parts are what several services share.
type parts struct {
	catalogue   scope.Catalogue
	secrets     *sealing.Secrets
	master      *masterkey.Master
	masterKey   string // where the master key came from, in words
	hasher      *accounts.Hasher
	revocations *tokens.Revocations
	revoked     *tokens.RevocationFeed
	statusLists *tokens.StatusLists
	places      *tokens.PlaceBlocks // of access tokens in status lists
	clientUsage *oauth.ClientUsage
	mails       mails
	refusals    *tokens.Refusals   // of access tokens
	backchannel *oauth.Backchannel // tells clients that sessions of theirs ended
	webhooks    hooks
	readers     readers // of the audit log
}

// Open builds the house from the ground up. The database is migrated, and what
// a new one needs is made. Close it; and Run it, unless it lives shortly.
func Open(ctx context.Context, conf Config, env Env) (*House, error) {
	if env.Logger == nil {
		env.Logger = slog.Default()
	}
	env.Logger = slog.New(server.LogHandler(env.Logger.Handler()))
	h := &House{conf: conf, env: env}
	h.state.ended, h.state.locked = make(chan struct{}, 1), make(chan struct{}, 1)
	h.state.cleaned.Store(env.Now().UnixMicro()) // the metric counts from the start where no cleanup ever works
	for _, build := range []func(context.Context) error{
		h.openCatalogue, // what permissions there are
		h.openDatabase,  // and brings its schema up
		h.openMasterKey, // which seals what is secret in the database
		h.openSecrets,   // peppers and MAC keys; the ring of signing keys
		h.buildAccounts, // people, organisations, roles, logins
		h.buildTokens,   // sessions, refresh families, revocations
		h.buildStatusLists,
		h.buildAPIKeys,
		h.buildActivity,
		h.buildClients,
		h.buildLogouts,
		h.buildMail,
		h.buildWebhooks,
		h.buildOutputs,
		h.follow,      // the log of changes, once everyone who listens is there
		h.buildServer, // HTTP on top of everything
	} {
		if err := build(ctx); err != nil {
			if h.DB != nil {
				err = errors.Join(err, h.DB.Close())
			}
			return nil, err
		}
	}
	return h, nil
}

// openCatalogue says what permissions exist.
func (h *House) openCatalogue(context.Context) (err error) {
	if h.parts.catalogue, err = accounts.NewCatalogue(h.conf.Accounts.Permissions...); err != nil {
		return fmt.Errorf("permissions: %w", err)
	}
	return nil
}

// openDatabase also makes the feed and the metrics, because both hear of every
// commit.
func (h *House) openDatabase(ctx context.Context) (err error) {
	h.Metrics = metrics.New(metrics.Config{
		Version: h.env.Build.Version, Revision: h.env.Build.Revision, Routes: routes(), SigningKeys: h.signingKeys, StatusLists: h.statusCount,
		Moment: h.moment,
	})
	h.Feed = &changes.Feed{Now: h.env.Now, Logger: h.env.Logger, Observe: h.Metrics.Propagated}
	h.DB, err = openDatabase(ctx, h.conf, h.env, gormstore.Options{OnCommit: h.committed, Hooks: h.timed(), Unrecorded: h.unrecorded()})
	if err != nil {
		return err
	}
	h.Feed.Log = h.DB.Changes()
	if h.env.Serving {
		h.Feed.Roll = &changes.Roll{Replicas: h.DB.Replicas(), Random: h.env.Random, Observe: h.Metrics.Confirmed}
	}
	return h.DB.Migrate(ctx)
}

// committed hears of every commit of this process, once, before its caller is
// answered: what was revoked is refused from then on.
func (h *House) committed(events []audit.Event, cs []changes.Change) {
	h.Metrics.Observe(events)
	h.Feed.Publish(cs...)
	h.sessionsEnded(cs)
	h.mailsQueued(events)
}

// keyMargin is how much longer than its tokens a retired key is published: other
// replicas may sign with it until they hear, and clocks differ.
const keyMargin = time.Hour

// keyNotice is how long a key is published before it signs: what verifiers may
// keep of the JWK Set, and two minutes for replicas to hear of it and for
// clocks that differ.
const keyNotice = server.JWKSAge + 2*time.Minute

func (h *House) openSecrets(ctx context.Context) error {
	h.parts.secrets = &sealing.Secrets{Store: h.DB.SealedSecrets(), Keeper: h.parts.master, Now: h.env.Now, Random: h.env.Random}
	if err := h.parts.secrets.Load(ctx); err != nil {
		return err
	}
	h.Ring = &signing.Ring{
		Store: h.DB.SigningKeys(), Keeper: h.parts.master, Now: h.env.Now, Random: h.env.Random, Logger: h.env.Logger,
		Algorithms: h.conf.Tokens.signingAlgorithms(), Retain: MaxAccessTTL + keyMargin,
		Announce: keyNotice, Lifetime: h.conf.Tokens.SigningKeyLife, Trace: h.env.Tracer.Step,
	}
	return h.Ring.Load(ctx)
}

// directorySize is how many standings are kept in memory.
const directorySize = 20_000

func (h *House) buildAccounts(context.Context) error {
	h.Directory = accounts.NewDirectory(h.DB.Accounts(), h.parts.catalogue, directorySize, h.Feed.Fresh)
	h.parts.hasher = &accounts.Hasher{Random: h.env.Random, Now: h.env.Now, Inflight: h.Metrics.Hashing, Waited: h.Metrics.HashWaited, Refused: h.Metrics.HashRefused, Trace: h.env.Tracer.Step}
	delay := h.conf.Accounts.LoginFailureDelay
	h.Logins = &accounts.Authenticator{
		Store: h.DB.Logins(), Users: h.DB.Accounts(), Hasher: h.parts.hasher, Secrets: h.parts.secrets, Proofs: h.proofs(),
		Answer: h.answer, RefusalTime: delay, Now: h.env.Now, Random: h.env.Random,
	}
	h.People = &accounts.People{
		Store: h.DB.Accounts(), Recorder: h.DB.Recorder(), Hasher: h.parts.hasher, Prover: h.Logins, Catalogue: h.parts.catalogue,
		Policy: accounts.Policy{MinLength: h.conf.Accounts.PasswordMinLength}, TokenTTL: MaxAccessTTL,
		Answer: h.answer, RegisterTime: delay, Now: h.env.Now, Random: h.env.Random,
	}
	return nil
}

// answer waits until at, so that how long a refusal took tells nothing.
func (h *House) answer(ctx context.Context, at time.Time) error {
	wait := time.NewTimer(at.Sub(h.env.Now()))
	defer wait.Stop()
	select {
	case <-wait.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *House) buildTokens(context.Context) error {
	t := h.conf.Tokens
	h.parts.revocations = &tokens.Revocations{Now: h.env.Now}
	h.parts.places = &tokens.PlaceBlocks{Store: h.DB.StatusPlaces(), Now: h.env.Now, Random: h.env.Random, MaxAccessTTL: MaxAccessTTL}
	h.Sessions = &tokens.Service{
		Store: h.DB.Sessions(), MACs: purpose{h.parts.secrets, sealing.RefreshMAC}, Now: h.env.Now, Random: h.env.Random,
		BrowserMACs:  purpose{h.parts.secrets, sealing.BrowserSession},
		Policy:       tokens.Policy{Grace: explicit(t.RefreshGrace), Cooldown: explicit(t.RefreshCooldown), Idle: t.RefreshIdle, Absolute: t.RefreshAbsolute, BrowserIdle: t.BrowserIdle, BrowserAbsolute: t.BrowserAbsolute},
		MaxAccessTTL: MaxAccessTTL, Revocations: h.parts.revocations, Fresh: h.Feed.Fresh, Places: h.parts.places, StatusKey: h.statusKey(),
		Observe: func(r tokens.Result) { h.Metrics.Refreshed(string(r)) }, RecordEach: h.conf.Audit.Routine == RoutineEach,
	}
	h.parts.refusals = &tokens.Refusals{Recorder: h.DB.Recorder(), Now: h.env.Now}
	h.parts.revoked = &tokens.RevocationFeed{
		Signer: h.Ring, Issuer: h.conf.Issuer, Entries: h.parts.revocations.Entries, Now: h.env.Now, Fresh: h.Feed.Fresh,
	}
	return nil
}

func (h *House) buildAPIKeys(context.Context) error {
	h.APIKeys = &apikeys.Service{
		Store: h.DB.APIKeys(), Peppers: h.parts.secrets, Owners: owners{h.Directory}, Catalogue: h.parts.catalogue,
		Settings: apikeys.Settings{
			Prefix: h.conf.APIKeys.Prefix, MaxLifetime: h.conf.APIKeys.MaxLifetime, UsageRetention: h.conf.APIKeys.UsageRetention,
			LimitFailure: apikeys.LimitFailure(h.conf.APIKeys.LimitFailure),
			Leaked:       apikeys.LeakResponse(h.conf.APIKeys.Leaked), RefuseImported: !h.conf.APIKeys.Imported,
			RecordEach: h.conf.Audit.Routine == RoutineEach,
		},
		Fresh: h.Feed.Fresh, Now: h.env.Now, Random: h.env.Random, Observe: h.Metrics.APIKeyVerified,
		ObserveLeak: h.Metrics.APIKeyLeaked,
	}
	return nil
}

func (h *House) buildClients(context.Context) error {
	h.Clients = &oauth.Clients{
		Store: h.DB.Clients(), Sealer: h.parts.master, Catalogue: h.parts.catalogue, TokenTTL: MaxAccessTTL,
		Algorithms: h.conf.Tokens.signingAlgorithms(), Development: h.conf.Development(), Sectors: sectors{h.outbound()},
		Fresh: h.Feed.Fresh, Now: h.env.Now, Random: h.env.Random,
	}
	h.parts.clientUsage = &oauth.ClientUsage{Recorder: h.DB.Recorder(), Now: h.env.Now, RecordEach: h.conf.Audit.Routine == RoutineEach}
	return nil
}

// follow subscribes everyone who must hear of changes, then starts the feed.
func (h *House) follow(ctx context.Context) error {
	for _, s := range []changes.Subscriber{
		h.parts.revocations, // first: the feed of revocations reads it
		h.parts.revoked,
		h.parts.statusLists,
		h.parts.places,
		h.Directory,
		h.APIKeys,
		h.Clients,
		h.Ring,
		h.parts.master,
	} {
		h.Feed.Subscribe(s)
	}
	return h.Feed.Start(ctx)
}

// Operator is the command line acting in an organisation; the empty one stands
// for the deployment as a whole.
func (h *House) Operator(org ident.OrgID) ident.Caller {
	return ident.OperatorOf(org, h.parts.catalogue.All())
}

// Config is what the house was built from.
func (h *House) Config() Config { return h.conf }

// Close stores what was counted in memory and closes the database.
func (h *House) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return errors.Join(h.parts.places.Close(ctx), h.APIKeys.Close(ctx), h.parts.clientUsage.Flush(ctx), h.parts.refusals.Close(ctx), h.Activity().Flush(ctx), h.Feed.Leave(ctx), h.DB.Close())
}

// closeTimeout bounds the last writes.
const closeTimeout = 5 * time.Second
