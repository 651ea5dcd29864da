import { useSyncExternalStore } from 'react'
import { createRoot } from 'react-dom/client'
import './style.css'

// Two pages on the client: the server answers any path of a page with index.html.
function usePath() {
  return useSyncExternalStore(
    (onChange) => {
      addEventListener('popstate', onChange)
      return () => removeEventListener('popstate', onChange)
    },
    () => location.pathname,
  )
}

function Link({ to, children }) {
  const go = (event) => {
    event.preventDefault()
    history.pushState(null, '', to)
    dispatchEvent(new PopStateEvent('popstate'))
  }
  return (
    <a href={to} onClick={go}>
      {children}
    </a>
  )
}

function App() {
  const path = usePath()
  return (
    <main>
      <h1>{path === '/about' ? 'About' : 'Vite and React'}</h1>
      <p>Version one, speaking to {import.meta.env.VITE_API_URL ?? 'nobody'}.</p>
      <Link to={path === '/about' ? '/' : '/about'}>{path === '/about' ? 'Home' : 'About'}</Link>
    </main>
  )
}

createRoot(document.getElementById('root')).render(<App />)
