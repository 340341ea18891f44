// Command go-service asks an API as itself: the library gets a token, keeps it,
// and gets the next one shortly before it expires.
//
//	ISSUER=… CLIENT_ID=cli_… CLIENT_SECRET=ths_… go run ./docs/examples/go-service http://localhost:8080/api/v1/incidents
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"golang.org/x/oauth2/clientcredentials"
)

func main() {
	if err := run(context.Background(), os.Args[1], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, url string, out io.Writer) error {
	conf := clientcredentials.Config{
		ClientID:     os.Getenv("CLIENT_ID"),
		ClientSecret: os.Getenv("CLIENT_SECRET"),
		TokenURL:     os.Getenv("ISSUER") + "/oauth2/token",
	}
	res, err := conf.Client(ctx).Get(url)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	fmt.Fprint(out, res.StatusCode, " ")
	_, err = io.Copy(out, res.Body)
	return err
}
