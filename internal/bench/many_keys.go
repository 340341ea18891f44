package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"hash/crc32"
	"math/big"
	mathrand "math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// coldCache is how many keys a server remembers that shall have to ask the
// database for almost every one.
const coldCache = 32

// manyKeys prints what the verification of API keys costs at each number of
// stored keys: of one key that is remembered, and of keys drawn uniformly, which
// are not. Those drawn from a thousand are asked for like any, and only their
// number of rows of use is written. The sizes must grow.
func (b bench) manyKeys(ctx context.Context, url string, s *subject, plain figure) error {
	cold, err := openCold(ctx, url, b.dir, b.workers)
	if err != nil {
		return err
	}
	defer cold.stop()
	store, err := newKeyStore(ctx, url, s)
	if err != nil {
		return err
	}
	defer store.close()
	var all []string
	for _, size := range b.sizes {
		began := time.Now()
		more, err := store.add(ctx, size-len(all))
		if err != nil {
			return fmt.Errorf("store %d keys: %w", size, err)
		}
		all = append(all, more...)
		fmt.Printf("\ntokenhouse on %s, %d API keys (stored in %v)\n", backendOf(url), size, time.Since(began).Round(time.Second))
		some := everyNth(all, max(1, size/1000))
		for _, m := range []struct {
			name string
			op   operation
		}{
			{"verify one API key, remembered", s.opAPIKey},
			{"verify any of 1000 API keys, asked for", func(int) error { return cold.verifyKey(some[mathrand.IntN(len(some))]) }},
			{"verify any API key, asked for", func(int) error { return cold.verifyKey(all[mathrand.IntN(len(all))]) }},
		} {
			if !b.only.MatchString(m.name) {
				continue
			}
			f := measure(m.name, b.workers, b.each, m.op)
			fmt.Println(f.row(&plain))
			if f.failures > 0 {
				return fmt.Errorf("%s: %d requests failed: %w", m.name, f.failures, f.last)
			}
		}
	}
	return nil
}

// everyNth is a part of the keys from everywhere among them.
func everyNth(keys []string, n int) (out []string) {
	for i := 0; i < len(keys); i += n {
		out = append(out, keys[i])
	}
	return out
}

func (s *subject) verifyKey(key string) error {
	return s.client.expect(http.StatusOK, request{method: "GET", url: s.url + "/api/v1/auth/verify", header: map[string]string{"X-API-Key": key}})
}

// keyStore writes keys past the server, as it would, a million in seconds.
type keyStore struct {
	pepperID   uint8
	pepper     []byte
	org, owner string
	write      func(ctx context.Context, keys []string, row func(i int) (key, secret []any)) error
	close      func()
	stored     int
}

// The columns that rows of keyStore have.
var (
	keyColumns = []string{"id", "lookup", "prefix", "name", "org_id", "owner_id", "created_by_user", "created_by_key", "permissions",
		"created_at", "expires_at", "revoked_at", "revoked_by", "generation", "used_at", "used_ip", "used_agent"}
	secretColumns = []string{"key_id", "generation", "digest", "pepper", "last4", "created_at", "valid_until", "due_at", "used_at", "used_ip", "used_agent"}
)

func newKeyStore(ctx context.Context, url string, s *subject) (*keyStore, error) {
	keeper, err := sealing.NewLocal([]byte(masterKey))
	if err != nil {
		return nil, err
	}
	secrets := &sealing.Secrets{Store: s.house.DB.SealedSecrets(), Keeper: keeper, Now: time.Now, Random: rand.Reader}
	if err := secrets.Load(ctx); err != nil {
		return nil, err
	}
	out := &keyStore{}
	out.pepperID, out.pepper = secrets.Current(sealing.APIKeyPepper)
	const whose = "SELECT org_id, owner_id FROM api_keys LIMIT 1" // populate made one
	if backendOf(url) == "PostgreSQL" {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return nil, err
		}
		out.close = func() { _ = conn.Close(ctx) }
		out.write = copyTo(conn)
		return out, conn.QueryRow(ctx, whose).Scan(&out.org, &out.owner)
	}
	db, err := sql.Open("sqlite", "file:"+strings.TrimPrefix(url, "sqlite://")+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)&_txlock=immediate")
	if err != nil {
		return nil, err
	}
	out.close = func() { _ = db.Close() }
	out.write = insertInto(db)
	return out, db.QueryRowContext(ctx, whose).Scan(&out.org, &out.owner)
}

func copyTo(conn *pgx.Conn) func(context.Context, []string, func(int) (key, secret []any)) error {
	return func(ctx context.Context, keys []string, row func(int) (key, secret []any)) error {
		_, err := conn.CopyFrom(ctx, pgx.Identifier{"api_keys"}, keyColumns, pgx.CopyFromSlice(len(keys), func(i int) ([]any, error) {
			k, _ := row(i)
			return k, nil
		}))
		if err != nil {
			return err
		}
		_, err = conn.CopyFrom(ctx, pgx.Identifier{"api_key_secrets"}, secretColumns, pgx.CopyFromSlice(len(keys), func(i int) ([]any, error) {
			_, s := row(i)
			return s, nil
		}))
		if err == nil {
			_, err = conn.Exec(ctx, "ANALYZE")
		}
		return err
	}
}

func insertInto(db *sql.DB) func(context.Context, []string, func(int) (key, secret []any)) error {
	statement := func(table string, columns []string) string {
		return "INSERT INTO " + table + " (" + strings.Join(columns, ",") + ") VALUES (?" + strings.Repeat(",?", len(columns)-1) + ")"
	}
	return func(ctx context.Context, keys []string, row func(int) (key, secret []any)) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }() // after a commit it does nothing
		intoKeys, err := tx.PrepareContext(ctx, statement("api_keys", keyColumns))
		if err != nil {
			return err
		}
		defer func() { _ = intoKeys.Close() }()
		intoSecrets, err := tx.PrepareContext(ctx, statement("api_key_secrets", secretColumns))
		if err != nil {
			return err
		}
		defer func() { _ = intoSecrets.Close() }()
		for i := range keys {
			k, s := row(i)
			_, err := intoKeys.ExecContext(ctx, k...)
			_, failed := intoSecrets.ExecContext(ctx, s...)
			if err := errors.Join(err, failed); err != nil {
				return err
			}
		}
		return tx.Commit()
	}
}

// keyBatch is how many keys one transaction stores: others may write in between.
const keyBatch = 20_000

// add stores n more keys and returns their credentials.
func (k *keyStore) add(ctx context.Context, n int) (all []string, err error) {
	for len(all) < n && err == nil {
		keys := make([]string, min(keyBatch, n-len(all)))
		for i := range keys {
			if keys[i], err = credential(); err != nil {
				return nil, err
			}
		}
		first, now := k.stored, time.Now().UnixMicro()
		err = k.write(ctx, keys, func(i int) (key, sec []any) {
			id, c := fmt.Sprintf("key_%026d", first+i), keys[i]
			lookup := c[len("th_live_") : len("th_live_")+8]
			key = []any{id, lookup, "th_live", "bench", k.org, k.owner, k.owner, "", "incidents:read", now, 0, 0, "", 1, 0, "", ""}
			sec = []any{id, 1, secret.MAC(k.pepper, c), int(k.pepperID), c[len(c)-4:], now, 0, 0, 0, "", ""}
			return key, sec
		})
		k.stored += len(keys)
		all = append(all, keys...)
	}
	return all, err
}

// credential is an API key in the form of this deployment.
func credential() (string, error) {
	body, err := secret.Text(rand.Reader, 40)
	if err != nil {
		return "", err
	}
	s := "th_live_" + body
	sum := big.NewInt(int64(crc32.ChecksumIEEE([]byte(s)))).Text(62)
	// big.Int counts a-z before A-Z; keys count A-Z first.
	sum = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		default:
			return r
		}
	}, sum)
	s += strings.Repeat("0", 6-len(sum)) + sum
	if !apikeys.LooksLike(s) {
		return "", errors.New("the form of API keys has changed")
	}
	return s, nil
}
