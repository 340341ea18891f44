// Sends the one form of the page. Without scripts its button does.
HTMLFormElement.prototype.submit.call(document.forms[0]);
