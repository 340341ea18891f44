// Has the proof that a login needs worked out while people type. Whoever is
// faster waits: the form is sent as soon as the proof is there.
const proof = document.getElementById('proof')
const says = document.getElementById('proof-says')
const form = proof.form
let waiting = false
let failed = false

const worker = new Worker('/assets/work.js')
worker.onmessage = (found) => {
  proof.value = found.data
  says.textContent = 'This browser has passed the check.'
  if (waiting) form.requestSubmit()
}
worker.onerror = () => { // then the server says once more what is needed
  failed = true
  says.textContent = 'This browser cannot do the check.'
}
form.addEventListener('submit', (sending) => {
  if (proof.value !== '' || failed) return
  sending.preventDefault()
  waiting = true
  says.textContent = 'One moment: this browser is still being checked.'
})
says.textContent = 'This browser is being checked. You can type meanwhile.'
worker.postMessage({ challenge: proof.dataset.challenge, bits: Number(proof.dataset.bits) })
