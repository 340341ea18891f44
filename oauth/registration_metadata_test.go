package oauth

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/scope"
)

func testRules(t testing.TB) clientRules {
	t.Helper()
	all, err := scope.NewCatalogue("agents:read", "agents:delete")
	if err != nil {
		t.Fatal(err)
	}
	return clientRules{catalogue: all, algorithms: []string{"RS256", "ES256"}}
}

// accepted reads metadata as far as no caller and no network takes part.
func accepted(j clientRules, body []byte) (Registered, error) {
	m, err := ReadClientMetadata(body)
	if err != nil {
		return Registered{}, err
	}
	n, refused := m.registration(ClientSettings{PKCE: defaultPKCE(m.AuthMethod)})
	r := n.client()
	if err := fault.Refusals(append(refused, j.judgeClient(r)...)); err != nil {
		return Registered{}, badMetadata(err)
	}
	return r, nil
}

const wholeMetadata = `{"client_name":"A <b>","redirect_uris":["https://a.example/cb","http://127.0.0.1/cb"],"grant_types":["authorization_code","refresh_token","client_credentials"],
"response_types":["code"],"token_endpoint_auth_method":"client_secret_jwt","scope":"openid agents:read phone","jwks_uri":"https://a.example/keys","software_statement":"x","unknown":{"a":[1]},
"application_type":"web","subject_type":"pairwise","sector_identifier_uri":"https://a.example/sector","id_token_signed_response_alg":"ES256","userinfo_signed_response_alg":"RS256",
"request_object_signing_alg":"PS256","introspection_signed_response_alg":"RS256","token_endpoint_auth_signing_alg":"HS256","default_max_age":60,"require_auth_time":true,"default_acr_values":["1"],
"request_uris":["https://a.example/r#GkurKxf5T0Y-mnPFCHqWOMiZi4VS138cQO_V7PZHAdM"],"initiate_login_uri":"https://a.example/login","client_uri":"https://a.example/","logo_uri":"https://a.example/l.png",
"policy_uri":"https://a.example/p","tos_uri":"https://a.example/t","contacts":["o@a.example"],"post_logout_redirect_uris":["https://a.example/bye"],"backchannel_logout_uri":"https://a.example/out",
"backchannel_logout_session_required":true,"frontchannel_logout_uri":"https://a.example/front","frontchannel_logout_session_required":true}`

// What is registered is what was sent, and what is shown of it is what would be
// registered again: nothing is lost on the way.
func FuzzClientMetadata(f *testing.F) {
	for _, s := range []string{
		wholeMetadata, `{"redirect_uris":["https://a.example/cb"]}`, `{"redirect_uris":["com.example.app:/cb"],"token_endpoint_auth_method":"none"}`, `{}`, `[]`, `null`, `{"jwks":{"keys":[]}}`,
		`{"redirect_uris":["https://a.example/cb"],"jwks":{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","x5c":["a"]}]}}`,
		`{"redirect_uris":["https://a.example/cb"],"redirect_uris":["https://b.example/cb"]}`, `{"default_max_age":-1}`, `{"default_max_age":1e99}`,
	} {
		f.Add([]byte(s))
	}
	j := testRules(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := accepted(j, body)
		if err != nil {
			if !errors.Is(err, fault.InvalidClientMetadata) && !errors.Is(err, fault.InvalidRedirectURI) {
				t.Fatalf("refused as %v", err)
			}
			return
		}
		shown, err := json.Marshal(ClientMetadataOf(r))
		if err != nil {
			t.Fatal(err)
		}
		again, err := accepted(j, shown)
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("%v\n got %+v\nwant %+v\nshown %s", err, again, r, shown)
		}
	})
}

func TestWholeMetadataIsKept(t *testing.T) {
	r, err := accepted(testRules(t), []byte(wholeMetadata))
	if err != nil {
		t.Fatal(err)
	}
	shown, err := json.Marshal(ClientMetadataOf(r))
	if err != nil {
		t.Fatal(err)
	}
	var sent, got map[string]any
	if err := errors.Join(json.Unmarshal([]byte(wholeMetadata), &sent), json.Unmarshal(shown, &got)); err != nil {
		t.Fatal(err)
	}
	delete(sent, "software_statement")
	delete(sent, "unknown")
	sent["scope"] = "openid agents:read"
	if !reflect.DeepEqual(got, sent) {
		t.Errorf("\n got %v\nwant %v", got, sent)
	}
}

// SEC-OAU-60 SEC-OAU-06 SEC-JWT-26 SEC-JWT-27 SEC-WEB-13: what is refused, and as what.
func TestRefusedMetadata(t *testing.T) {
	const uri = `"redirect_uris":["https://a.example/cb"]`
	weak := func(n, e string) string { return `{"keys":[{"kty":"RSA","kid":"1","n":"` + n + `","e":"` + e + `"}]}` }
	modulus := func(bytes int) string { return "8" + strings.Repeat("A", bytes*4/3-2) + "B" } // an odd number of so many bytes, high bit set
	ed := func(x string) string { return `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"` + x + `"}]}` }
	for body, want := range map[string]string{
		`{` + uri + `}`: "",
		`{` + uri + `,"software_statement":"eyJhbGciOiJub25lIn0.e30."}`:                                      "", // ignored
		`{"redirect_uris":["https://a.example/cb#x"]}`:                                                       "invalid_redirect_uri redirect_uris[0]",
		`{"redirect_uris":["https://a.example/cb#"]}`:                                                        "invalid_redirect_uri redirect_uris[0]",
		`{"redirect_uris":["javascript:alert(1)"]}`:                                                          "invalid_redirect_uri redirect_uris[0]",
		`{"redirect_uris":["data:text/html,x"]}`:                                                             "invalid_redirect_uri redirect_uris[0]",
		`{"redirect_uris":["file:///etc/passwd"]}`:                                                           "invalid_redirect_uri redirect_uris[0]",
		`{"redirect_uris":["http://a.example/cb"]}`:                                                          "invalid_redirect_uri redirect_uris[0]",
		`{"redirect_uris":["https://*.a.example/cb"]}`:                                                       "invalid_redirect_uri redirect_uris[0]", // SEC-OAU-04
		`{"redirect_uris":["com.example.app:/cb"],"application_type":"web"}`:                                 "invalid_redirect_uri redirect_uris[0]",
		`{"redirect_uris":[]}`:                                                                               "invalid_redirect_uri redirect_uris",
		`{` + uri + `,"grant_types":["implicit"]}`:                                                           "invalid_client_metadata grant_types[0]",
		`{` + uri + `,"grant_types":["password"]}`:                                                           "invalid_client_metadata grant_types[0]",
		`{` + uri + `,"response_types":["token"]}`:                                                           "invalid_client_metadata response_types[0]",
		`{` + uri + `,"response_types":["code id_token"]}`:                                                   "invalid_client_metadata response_types[0]",
		`{` + uri + `,"grant_types":["client_credentials"],"scope":"agents:read","response_types":["code"]}`: "invalid_client_metadata response_types",
		`{` + uri + `,"response_types":[]}`:                                                                  "invalid_client_metadata response_types",
		`{` + uri + `,"token_endpoint_auth_method":"tls_client_auth"}`:                                       "invalid_client_metadata token_endpoint_auth_method",
		`{` + uri + `,"token_endpoint_auth_method":"private_key_jwt"}`:                                       "invalid_client_metadata jwks",
		`{` + uri + `,"jwks":{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}]}}`: "invalid_client_metadata jwks",
		`{` + uri + `,"jwks":{"keys":[{"kty":"oct","k":"AAAA"}]}}`:                                    "invalid_client_metadata jwks",
		`{` + uri + `,"jwks":` + ed("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo") + `}`:              "",
		`{` + uri + `,"jwks":` + ed("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA") + `}`:              "invalid_client_metadata jwks", // the neutral point
		`{` + uri + `,"jwks":` + ed("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA") + `}`:              "invalid_client_metadata jwks", // order 4
		`{` + uri + `,"jwks":` + ed("7P_______________________________________38") + `}`:              "invalid_client_metadata jwks", // order 2
		`{` + uri + `,"jwks":` + ed("7v_______________________________________38") + `}`:              "invalid_client_metadata jwks", // the neutral point, encoded otherwise
		`{` + uri + `,"jwks":` + ed("xxdqcD1N2E-6PAt2DRBnDyogU_osOczGTsf9d5KsA3o") + `}`:              "invalid_client_metadata jwks", // order 8
		`{` + uri + `,"jwks":` + ed("JuiVj8KyJ7BFw_SJ8u-Y8NXfrAXTxjM5sTgCiG1T_AU") + `}`:              "invalid_client_metadata jwks", // order 8
		`{` + uri + `,"jwks":` + ed("AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA") + `}`:              "invalid_client_metadata jwks", // no point at all
		`{` + uri + `,"jwks":` + weak(modulus(258), "AQAB") + `}`:                                     "",
		`{` + uri + `,"jwks":` + weak(modulus(129), "AQAB") + `}`:                                     "invalid_client_metadata jwks",
		`{` + uri + `,"jwks":` + weak(modulus(2046), "AQAB") + `}`:                                    "invalid_client_metadata jwks",
		`{` + uri + `,"jwks":` + weak(modulus(258), "AQ") + `}`:                                       "invalid_client_metadata jwks",
		`{` + uri + `,"jwks":` + weak(modulus(258), "AQAA") + `}`:                                     "invalid_client_metadata jwks",
		`{` + uri + `,"jwks":{"keys":[]}}`:                                                            "invalid_client_metadata jwks",
		`{` + uri + `,"jwks_uri":"http://a.example/keys"}`:                                            "invalid_client_metadata jwks_uri",
		`{` + uri + `,"jwks_uri":"http://127.0.0.1/keys"}`:                                            "invalid_client_metadata jwks_uri",
		`{` + uri + `,"logo_uri":"javascript:alert(1)"}`:                                              "invalid_client_metadata logo_uri",
		`{` + uri + `,"policy_uri":"javascript:alert(1)"}`:                                            "invalid_client_metadata policy_uri",
		`{` + uri + `,"tos_uri":"data:text/html,x"}`:                                                  "invalid_client_metadata tos_uri",
		`{` + uri + `,"client_uri":"com.example.app:/x"}`:                                             "invalid_client_metadata client_uri",
		`{` + uri + `,"frontchannel_logout_uri":"https://b.example/out"}`:                             "invalid_client_metadata frontchannel_logout_uri",
		`{` + uri + `,"backchannel_logout_uri":"https://a.example/out#x"}`:                            "invalid_client_metadata backchannel_logout_uri",
		`{` + uri + `,"post_logout_redirect_uris":["javascript:alert(1)"]}`:                           "invalid_client_metadata post_logout_redirect_uris[0]",
		`{` + uri + `,"request_uris":["http://a.example/r"]}`:                                         "invalid_client_metadata request_uris[0]",
		`{` + uri + `,"request_object_signing_alg":"none"}`:                                           "invalid_client_metadata request_object_signing_alg",
		`{` + uri + `,"request_object_signing_alg":"HS256"}`:                                          "invalid_client_metadata request_object_signing_alg",
		`{` + uri + `,"id_token_signed_response_alg":"none"}`:                                         "invalid_client_metadata id_token_signed_response_alg",
		`{` + uri + `,"id_token_signed_response_alg":"HS256"}`:                                        "invalid_client_metadata id_token_signed_response_alg",
		`{` + uri + `,"id_token_encrypted_response_alg":"RSA-OAEP"}`:                                  "invalid_client_metadata id_token_encrypted_response_alg",
		`{` + uri + `,"subject_type":"other"}`:                                                        "invalid_client_metadata subject_type",
		`{"redirect_uris":["https://a.example/cb","https://b.example/cb"],"subject_type":"pairwise"}`: "invalid_client_metadata sector_identifier_uri",
		`{` + uri + `,"client_name":"a\u202eb"}`:                                                      "invalid_client_metadata client_name",
		`{` + uri + `,"client_name":5}`:                                                               "invalid_client_metadata The",
		`{` + uri + `,` + uri + `}`:                                                                   "invalid_client_metadata The",
		`{` + uri + `,"default_max_age":"60"}`:                                                        "invalid_client_metadata The",
		`{` + uri + `,"scope":"openid \"x"}`:                                                          "invalid_client_metadata scope",
		`{` + uri + `,"scope":"openid agents:*"}`:                                                     "invalid_client_metadata scope[1]",
		`[]`: "invalid_client_metadata The",
		``:   "invalid_client_metadata The",
	} {
		_, err := accepted(testRules(t), []byte(body))
		got := ""
		if err != nil {
			f := fault.Of(err)
			got = string(f.Code) + " " + strings.FieldsFunc(f.Detail, func(c rune) bool { return c == ':' || c == ' ' })[0]
		}
		if got != want {
			t.Errorf("%.200s\n got %q (%v)\nwant %q", body, got, err, want)
		}
	}
}
