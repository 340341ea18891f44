package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// databases gives the URLs to measure on, each empty, and drops them at the end.
func (b bench) databases(ctx context.Context) (urls []string, drop func(), err error) {
	urls = []string{"sqlite://" + filepath.Join(b.dir, "bench.db")}
	server := os.Getenv("TOKENHOUSE_TEST_POSTGRES_URL")
	if server == "" {
		fmt.Println("  PostgreSQL is left out: TOKENHOUSE_TEST_POSTGRES_URL is not set (make bench sets it)")
		return urls, func() {}, nil
	}
	name := fmt.Sprintf("tokenhouse_bench_%d", time.Now().UnixNano())
	if err := administer(ctx, server, "CREATE DATABASE "+name); err != nil {
		return nil, nil, err
	}
	u, err := url.Parse(server)
	if err != nil {
		return nil, nil, err
	}
	u.Path = "/" + name
	drop = func() {
		if err := administer(context.WithoutCancel(ctx), server, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
	}
	return append(urls, u.String()), drop, nil
}

func administer(ctx context.Context, server, statement string) error {
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, statement)
	return err
}

// backendOf names the database that url points to.
func backendOf(url string) string {
	if strings.HasPrefix(url, "postgres") {
		return "PostgreSQL"
	}
	return "SQLite"
}
