package settings

import "strings"

// browsers and systems are what a User-Agent says of itself, in the order in which
// to ask: most claim to be those below them too.
var (
	browsers = [][2]string{
		{"Edg/", "Edge"}, {"OPR/", "Opera"}, {"SamsungBrowser/", "Samsung Internet"}, {"Firefox/", "Firefox"}, {"FxiOS/", "Firefox"},
		{"CriOS/", "Chrome"}, {"Chromium/", "Chromium"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"},
	}
	systems = [][2]string{
		{"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Android", "Android"}, {"CrOS", "ChromeOS"}, {"Windows", "Windows"},
		{"Mac OS X", "macOS"}, {"Linux", "Linux"},
	}
)

// deviceOf says in words what a User-Agent stands for: "Firefox on Linux". Of one
// that is no browser's it is the first word: "curl/8.5.0".
func deviceOf(agent string) string {
	browser, system := first(browsers, agent), first(systems, agent)
	switch {
	case agent == "":
		return "Unknown device"
	case browser != "" && system != "":
		return browser + " on " + system
	case browser != "":
		return browser
	default:
		word, _, _ := strings.Cut(agent, " ")
		return word
	}
}

func first(marks [][2]string, agent string) string {
	for _, m := range marks {
		if strings.Contains(agent, m[0]) {
			return m[1]
		}
	}
	return ""
}
